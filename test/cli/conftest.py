# SPDX-License-Identifier: Apache-2.0
"""Inputs for the commands."""

import cv2
import numpy as np
import pytest


@pytest.fixture
def video(tmp_path, astronaut_file):
    """Four frames: a face, twice nothing, the face again."""
    face = cv2.imread(str(astronaut_file))
    writer = cv2.VideoWriter(
        str(tmp_path / "in.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10, (256, 256)
    )
    for image in (face, np.zeros_like(face), np.zeros_like(face), face):
        writer.write(image)
    writer.release()
    return tmp_path / "in.mp4"


@pytest.fixture
def folder(tmp_path, astronaut_file):
    """Two good images, a damaged one, and a file that is not an image."""
    folder = tmp_path / "pictures of März"
    folder.mkdir()
    (folder / "1 face ü.png").write_bytes(astronaut_file.read_bytes())
    cv2.imwrite(str(folder / "empty.png"), np.full((80, 100, 3), 90, np.uint8))
    (folder / "broken.jpg").write_text("not a picture")
    (folder / "notes.txt").write_text("notes")
    return folder
