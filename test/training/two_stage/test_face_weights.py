# SPDX-License-Identifier: Apache-2.0
"""Which faces are drawn more often."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train`")

import cv2  # noqa: E402

from training.two_stage.face_weights import appearance_weights  # noqa: E402
from training.two_stage.harvest_proposals import Proposals  # noqa: E402
from training.two_stage.image_store import load_store  # noqa: E402
from training.two_stage.photographs import Photograph  # noqa: E402

BOX = [20, 20, 60, 70]
FRONTAL = [[30, 40], [50, 40], [40, 50], [33, 60], [47, 60]]
TURNED = [[30, 40], [50, 40], [54, 50], [45, 60], [52, 60]]
UNKNOWN = np.full((5, 2), np.nan)


def weight(folder, grey, landmarks):
    path = folder / "face.png"
    cv2.imwrite(str(path), np.full((96, 96, 3), grey, np.uint8))
    marks = np.array([landmarks], np.float32)
    photo = Photograph(path, "some", np.array([BOX], np.float32), np.array([1]), False, marks)
    store = load_store([photo], ["some"])
    first = torch.zeros(1, dtype=torch.long)
    faces = Proposals(first, store.boxes[0, :1], first)
    return appearance_weights(store, faces, dark_weight=1.5, turned_weight=2.0).item()


@pytest.mark.parametrize(("grey", "expected"), [(200, 1.0), (80, 1.2), (40, 1.5)])
def test_dark_faces_weigh_more(tmp_path, grey, expected):
    assert weight(tmp_path, grey, FRONTAL) == pytest.approx(expected)


@pytest.mark.parametrize(("landmarks", "expected"), [(TURNED, 2.0), (UNKNOWN, 1.6)])
def test_turned_faces_weigh_more_and_unknown_ones_half_so(tmp_path, landmarks, expected):
    assert weight(tmp_path, 200, landmarks) == pytest.approx(expected)
