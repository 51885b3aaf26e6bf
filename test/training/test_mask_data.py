# SPDX-License-Identifier: Apache-2.0
"""Reading labelled photographs."""

import cv2
import numpy as np
import pytest

from mask_detector_ros.errors import SourceError
from mask_detector_ros.sources import read_image
from training.mask_data import LABELS, PATCH_FACE_SIDE, cut_patch, read_faces

HEADER = "file,xmin,ymin,xmax,ymax,label,source,split,suspect\n"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    image = np.random.default_rng(0).integers(0, 256, (400, 500, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "images" / "a.png"), image)
    (tmp_path / "labels.csv").write_text(
        HEADER
        + "a.png,100,100,120,130,with_mask,some,train,0\n"
        + "a.png,200,100,400,380,mask_worn_incorrectly,some,train,1\n"
        + "a.png,0,0,50,50,without_mask,some,val,0\n"
    )
    return tmp_path


def test_only_the_rows_of_the_split_are_read(folder):
    rows = read_faces(folder, "train")
    assert [LABELS[row.label] for row in rows] == ["with_mask", "mask_worn_incorrectly"]
    assert [row.suspect for row in rows] == [False, True]
    assert [row.side for row in rows] == [30, 280]


def test_a_small_face_is_kept_pixel_by_pixel(folder):
    row = read_faces(folder, "train")[0]
    image = read_image(row.image)
    patch = cut_patch(image, row)
    x1, y1, x2, y2 = patch.box.astype(int)
    np.testing.assert_array_equal(patch.pixels[y1:y2, x1:x2], image[100:130, 100:120])


def test_a_large_face_is_reduced_together_with_its_box(folder):
    row = read_faces(folder, "train")[1]
    patch = cut_patch(read_image(row.image), row)
    assert max(patch.box[2:] - patch.box[:2]) == pytest.approx(PATCH_FACE_SIDE, abs=1)


def test_a_folder_without_labels_says_what_it_needs(tmp_path):
    with pytest.raises(SourceError, match=r"labels\.csv and images/"):
        read_faces(tmp_path, "train")


def test_an_unknown_split_is_named(folder):
    with pytest.raises(SourceError, match="'test'"):
        read_faces(folder, "test")
