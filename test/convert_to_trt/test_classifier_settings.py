# SPDX-License-Identifier: Apache-2.0
"""Labels and preprocessing from options, presets and the file's metadata."""

import argparse
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convert_to_trt.classifier_settings import read_number, settle
from mask_detector_ros.errors import ParameterError

NOTHING = dict.fromkeys(["labels", "preprocess", "color", "scale", "offset", "margin"])
FILE = {"labels": '["a", "b"]', "color": "BGR", "scale": "0.5", "offset": "-2.0", "margin": "0.1"}


def options(**given):
    return argparse.Namespace(**{**NOTHING, **given})


def test_a_preset_stands_for_color_scale_and_offset():
    settings = settle(options(labels="mask,bare", preprocess="mobilenet_v2"), {})
    assert settings.labels == ("mask", "bare")
    assert (settings.color, settings.offset, settings.margin) == ("RGB", -1.0, 0.0)
    assert settings.scale * 255 + settings.offset == pytest.approx(1)


def test_an_option_wins_over_its_preset_and_a_preset_over_the_file():
    settings = settle(options(preprocess="unit", color="BGR", margin=0.2), FILE)
    assert (settings.color, settings.scale, settings.margin) == ("BGR", 1 / 255, 0.2)


def test_a_file_that_says_everything_needs_no_option():
    metadata = settle(options(), FILE).to_metadata("NCHW", 96)
    assert metadata == {**FILE, "layout": "NCHW", "input_size": "96"}
    assert json.loads(metadata["labels"]) == ["a", "b"]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"preprocess": "unit"}, "--labels is needed"),
        ({"labels": "a,b"}, "--color, --scale, --offset must be given"),
        ({"labels": "a,b", "color": "RGB", "scale": 1.0}, "--offset must be given"),
        ({"labels": "a,b", "preprocess": "unit", "margin": -0.5}, "--margin must be 0 or more"),
    ],
)
def test_what_is_missing_or_wrong_is_named(given, reason):
    with pytest.raises(ParameterError, match=reason):
        settle(options(**given), {})


@pytest.mark.parametrize(
    ("broken", "option"), [({"labels": "{"}, "--labels"), ({"scale": "much"}, "--scale")]
)
def test_unusable_metadata_of_the_file_is_said_with_the_option_that_helps(broken, option):
    with pytest.raises(ParameterError, match=f"metadata.*{option}"):
        settle(options(), {**FILE, **broken})


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_a_number_may_be_a_fraction(above, below):
    assert read_number(f"{above}/{below}") == pytest.approx(above / below)
    assert read_number(str(above)) == above


@pytest.mark.parametrize("text", ["x", "1/0", "nan", "inf", "1/2/3", ""])
def test_what_is_no_finite_number_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="must be a number"):
        read_number(text)
