# SPDX-License-Identifier: Apache-2.0
"""Photographs of noise with boxes, for trainings that take seconds."""

import cv2
import numpy as np
import pytest

ROWS = (
    "bare.png,20,16,60,66,without_mask,some,train,0",
    "bare.png,70,10,90,36,ignore,some,train,0",
    "masked.png,30,20,70,70,with_mask,some,train,1",
    "low.png,24,20,64,70,mask_worn_incorrectly,some,train,0",
    "head.png,0,0,48,48,with_mask,chandrikadeb7,train,0",
    "val.png,20,16,60,66,without_mask,some,val,0",
    "val2.png,20,16,60,66,with_mask,some,val,0",
    "val3.png,20,16,60,66,mask_worn_incorrectly,some,val,0",
)


@pytest.fixture
def folder(tmp_path):
    """A data set: five training photographs, one of them without a face."""
    (tmp_path / "images").mkdir()
    rng = np.random.default_rng(0)
    names = sorted({row.split(",")[0] for row in ROWS} | {"none.png"})
    for name in names:
        side = 48 if name == "head.png" else 96
        image = rng.integers(0, 256, (side, side, 3), np.uint8)
        cv2.imwrite(str(tmp_path / "images" / name), image)
    header = "file,xmin,ymin,xmax,ymax,label,source,split,suspect"
    (tmp_path / "labels.csv").write_text("\n".join([header, *ROWS]) + "\n")
    (tmp_path / "negatives.csv").write_text("file,source,split\nnone.png,other,train\n")
    return tmp_path
