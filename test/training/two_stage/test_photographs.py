# SPDX-License-Identifier: Apache-2.0
"""The files of a data set are read."""

import numpy as np
import pytest

from mask_detector_ros.errors import SourceError
from training.two_stage.photographs import IGNORE, read_photographs


def test_boxes_to_ignore_are_kept_as_such_and_photographs_without_a_face_come_last(folder):
    photographs = {p.path.name: p for p in read_photographs(folder, "train")}
    assert photographs["bare.png"].kinds.tolist() == [1, IGNORE]
    assert photographs["masked.png"].suspect
    assert list(photographs)[-1] == "none.png"
    assert photographs["none.png"].boxes.shape == (0, 4)


def test_crops_of_heads_serve_for_labels_only(folder):
    only = [p.path.name for p in read_photographs(folder, "train") if p.is_labels_only]
    assert only == ["head.png"]


def test_the_split_is_that_of_the_file(folder):
    assert [p.path.name for p in read_photographs(folder, "val")] == [
        "val.png",
        "val2.png",
        "val3.png",
    ]
    with pytest.raises(SourceError, match="no rows of split 'test'"):
        read_photographs(folder, "test")


def test_landmarks_are_unknown_until_somebody_finds_them(folder):
    photograph = read_photographs(folder, "train")[0]
    assert photograph.landmarks.shape == (2, 5, 2)
    assert np.isnan(photograph.landmarks).all()
