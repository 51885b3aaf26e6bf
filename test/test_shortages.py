# SPDX-License-Identifier: Apache-2.0
"""A shortage at any call of a frame or a start is a clean error, and the next attempt works."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from fault_injection import SHORTAGES, every_call, fail_at

from mask_detector_ros.detector import MaskDetector
from mask_detector_ros.errors import MaskDetectorError
from mask_detector_ros.faces import Faces
from mask_detector_ros.imaging.encodings import decode_compressed, encode_compressed

MAKERS = pytest.mark.parametrize("make", SHORTAGES.values(), ids=SHORTAGES)


def is_clean(error: Exception | None, injected: Exception) -> bool:
    """Whether a run succeeded, failed with the shortage itself, or failed with an error of this
    package."""
    expected = (MaskDetectorError, type(injected))
    return error is None or isinstance(error, expected)


@MAKERS
def test_a_shortage_at_any_call_of_a_frame_costs_that_frame(
    make: Callable[[], Exception], detector: MaskDetector, astronaut: np.ndarray
) -> None:
    data = encode_compressed(astronaut[20:276, 96:352], "jpeg").tobytes()
    stream = detector.stream(smoothing=0.0)
    stamp = 0.0

    def frame() -> Faces:
        nonlocal stamp
        stamp += 0.1
        return stream(decode_compressed(data, "jpeg"), stamp)

    usual = frame()
    assert len(usual) == 1
    runs = 0
    for error in every_call(make, frame, step=3):
        runs += 1
        assert is_clean(error, make()), repr(error)
        faces = frame()
        np.testing.assert_array_equal(faces.boxes, usual.boxes)
        np.testing.assert_array_equal(faces.probabilities, usual.probabilities)
    assert runs > 10


@MAKERS
def test_a_shortage_at_any_call_of_a_start_is_a_clean_error(
    make: Callable[[], Exception], noise: np.ndarray
) -> None:
    def start() -> None:
        MaskDetector.load(threads=1)

    for error in every_call(make, start, step=40):
        assert is_clean(error, make()), repr(error)
    assert len(MaskDetector.load(threads=1)(noise)) == 0


def test_the_harness_fails_at_the_call_it_is_told() -> None:
    calls = []

    def work() -> None:
        for _ in range(3):
            calls.append(Faces.empty())

    with pytest.raises(MemoryError):
        fail_at(1, MemoryError(), work)
    assert calls == []
    assert 3 <= fail_at(10_000, MemoryError(), work) < 10_000
    assert len(calls) == 3
