# SPDX-License-Identifier: Apache-2.0
"""The agreement of two detectors."""

import numpy as np
import pytest

from mask_detector_ros.evaluation.agreement import Agreement
from mask_detector_ros.faces import Faces

LABELS = ("with_mask", "without_mask")


def faces(*boxes, mask=0.9):
    n = len(boxes)
    found = Faces(np.float32(boxes).reshape(-1, 4), np.ones(n), np.zeros((n, 5, 2)))
    return found.with_probabilities(np.float32([[mask, 1 - mask]] * n).reshape(-1, 2), LABELS)


def test_common_missing_and_extra_faces_are_counted():
    first = faces([0, 0, 10, 10], [50, 50, 60, 60])
    second = faces([1, 0, 10, 10], [100, 0, 110, 10], [200, 0, 210, 10], mask=0.4)
    found = Agreement.of([(first, second), (faces(), faces())])
    assert (found.images, found.faces) == (2, 2)
    assert (found.missing, found.extra, found.labels) == (1, 2, 1)
    assert found.boxes.tolist() == [1]
    assert found.probabilities.tolist() == pytest.approx([0.5])


def test_the_record_says_how_differences_are_spread():
    pairs = [(faces([0, 0, 100, 100]), faces([0, 0, 100 + d, 100])) for d in (0, 1, 2, 4)]
    record = Agreement.of(pairs).to_record()
    assert record["box_px"]["100%"] == 4
    assert record["box_px"]["within_1.5"] == 0.5
    assert record["probability"]["within_0.04"] == 1


def test_of_no_faces_all_agree():
    record = Agreement.of([(faces(), faces())]).to_record()
    assert record["faces"] == 0
    assert record["box_px"]["within_1.5"] == 1
