# SPDX-License-Identifier: Apache-2.0
"""The table of the detector's parameters."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mask_detector_ros.errors import ParameterError
from mask_detector_ros.parameters import (
    DETECTOR_PARAMETERS,
    DRAWING_PARAMETERS,
    Parameter,
    check_parameters,
)

BY_NAME = {parameter.name: parameter for parameter in DETECTOR_PARAMETERS}
NAN, INFINITY = float("nan"), float("inf")


def check(**given):
    return check_parameters(DETECTOR_PARAMETERS, given)


def test_without_values_every_parameter_has_its_default():
    assert check() == {name: parameter.default for name, parameter in BY_NAME.items()}


@pytest.mark.parametrize("parameter", DETECTOR_PARAMETERS, ids=lambda parameter: parameter.name)
def test_every_default_is_allowed_by_its_own_rule(parameter):
    assert parameter.check(parameter.default) == parameter.default


@pytest.mark.parametrize("parameter", DETECTOR_PARAMETERS, ids=lambda parameter: parameter.name)
def test_every_parameter_is_described_in_sentences(parameter):
    assert parameter.description.endswith(".")


def test_every_number_has_both_bounds():
    numbers = [p for p in DETECTOR_PARAMETERS if isinstance(p.default, int | float | tuple)]
    assert all(p.limits is not None for p in numbers)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("min_face_size", "20"),
        ("min_face_size", 20.0),
        ("min_face_size", True),
        ("min_face_size", None),
        ("min_face_size", 11),
        ("min_face_size", 2001),
        ("min_face_size", 10**400),
        ("max_faces", -1),
        ("threads", -1),
        ("pyramid_factor", 1.0),
        ("pyramid_factor", 0.0),
        ("pyramid_factor", NAN),
        ("pyramid_factor", INFINITY),
        ("pyramid_factor", "0.7"),
        ("pyramid_factor", False),
        ("margin", NAN),
        ("margin", -1.5),
        ("detection_thresholds", 0.6),
        ("detection_thresholds", (0.6, 0.7)),
        ("detection_thresholds", (0.6, 0.7, 0.7, 0.7)),
        ("detection_thresholds", (0.6, 0.7, 1.1)),
        ("detection_thresholds", (0.6, NAN, 0.7)),
        ("detection_thresholds", (0.6, None, 0.7)),
        ("detection_thresholds", ("0.6", "0.7", "0.7")),
        ("detection_thresholds", (True, True, True)),
        ("detection_thresholds", "678"),
        ("detection_thresholds", {0.6: 0, 0.7: 0, 0.8: 0}),
        ("backend", "tensorflow"),
        ("backend", ""),
        ("backend", 1),
        ("detector_model", None),
        ("classifier_model", 3),
    ],
)
def test_a_wrong_value_is_refused_and_the_message_says_what_is_allowed(name, value):
    with pytest.raises(ParameterError) as error:
        check(**{name: value})
    assert str(error.value) == f"{name} must be {BY_NAME[name].allowed}, got {value!r}"


def test_the_allowed_values_are_named_in_words():
    assert BY_NAME["min_face_size"].allowed == "an integer from 12 to 2000"
    assert BY_NAME["pyramid_factor"].allowed == "a number from 0.3 to 0.95"
    assert BY_NAME["detection_thresholds"].allowed == "3 numbers from 0 to 1"
    assert BY_NAME["backend"].allowed.startswith("one of auto, ")
    assert BY_NAME["detector_model"].allowed == "a text"


def test_an_unknown_name_is_refused_and_the_known_ones_are_named():
    with pytest.raises(ParameterError) as error:
        check(min_face=20)
    assert "unknown parameter min_face" in str(error.value)
    for name in BY_NAME:
        assert name in str(error.value)


def test_a_whole_number_serves_where_a_fraction_may_stand():
    assert check(margin=1)["margin"] == 1.0
    assert isinstance(check(margin=1)["margin"], float)
    assert check(detection_thresholds=[0, 1, 1])["detection_thresholds"] == (0.0, 1.0, 1.0)


def test_numbers_of_numpy_serve_like_those_of_python():
    values = check(
        min_face_size=np.int64(40),
        margin=np.float32(0.5),
        detection_thresholds=np.array([0.5, 0.5, 0.5]),
    )
    assert values["min_face_size"] == 40
    assert type(values["min_face_size"]) is int
    assert type(values["margin"]) is float
    assert values["detection_thresholds"] == (0.5, 0.5, 0.5)


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_a_number_is_taken_exactly_when_it_lies_in_the_range(value):
    parameter = Parameter("p", 0.5, "A number.", limits=(0.25, 0.75))
    if 0.25 <= value <= 0.75:
        assert parameter.check(value) == value
    else:
        with pytest.raises(ParameterError, match=r"p must be a number from 0\.25 to 0\.75"):
            parameter.check(value)


@pytest.mark.parametrize("value", [NAN, INFINITY, -INFINITY])
def test_a_number_without_bounds_must_still_be_finite(value):
    with pytest.raises(ParameterError, match="must be a number, got"):
        Parameter("p", 0.5, "A number.").check(value)


def test_yaml_reads_off_as_false_which_serves_where_off_may_stand():
    (privacy,) = (p for p in DRAWING_PARAMETERS if p.name == "privacy")
    assert privacy.check(False) == privacy.check("off") == "off"
    for value in (True, "no", ""):
        with pytest.raises(ParameterError, match="privacy must be one of off, blur, pixelate"):
            privacy.check(value)


@pytest.mark.parametrize("value", [0, 1, "true", None])
def test_true_and_false_are_the_only_truth_values(value):
    parameter = Parameter("p", True, "A switch.")
    assert parameter.check(False) is False
    with pytest.raises(ParameterError, match="p must be true or false"):
        parameter.check(value)
