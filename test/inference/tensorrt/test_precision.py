# SPDX-License-Identifier: Apache-2.0
"""Only networks that do not place faces may compute in float16."""

import onnx
import pytest

from mask_detector_ros.inference.tensorrt.precision import precision_of
from mask_detector_ros.models import DETECTORS, find_classifier, find_detector

STAGES = [stage for detector in DETECTORS for stage in find_detector(detector).items()]


def outputs(model):
    return [output.name for output in onnx.load_from_string(model).graph.output]


@pytest.mark.parametrize("asked", ["auto", "fp16", "fp32"])
def test_the_detector_stays_in_float32_and_the_classifier_takes_what_is_asked(asked):
    assert {precision_of(outputs(model), asked) for _, model in STAGES} == {"fp32"}
    assert precision_of(outputs(find_classifier("mask_classifier")), asked) == asked


def test_a_whole_cascade_keeps_the_types_of_its_file():
    given = ("boxes", "scores", "landmarks", "probabilities", "dropped")
    assert precision_of(given, "auto") == "fp32"
