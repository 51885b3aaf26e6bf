# SPDX-License-Identifier: Apache-2.0
"""The images that Python code may give the detector, and the errors for others."""

import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import cv2
import numpy as np
import pytest

from mask_detector_ros import MaskDetector
from mask_detector_ros.errors import ImageError, SourceError


@pytest.fixture(scope="module")
def portrait(astronaut_file):
    return cv2.imread(str(astronaut_file))


def test_a_path_a_pil_image_and_an_rgb_array_are_the_same_image(detector, portrait, astronaut_file):
    pillow = pytest.importorskip("PIL.Image", reason="needs Pillow: pip install pillow")
    expected = detector(portrait)
    assert len(expected) == 1
    for image, rgb in (
        (astronaut_file, False),
        (str(astronaut_file), False),
        (astronaut_file.as_uri(), False),
        (pillow.open(astronaut_file), False),
        (pillow.open(astronaut_file).convert("RGBA"), False),
        (cv2.cvtColor(portrait, cv2.COLOR_BGR2RGB), True),
        (portrait[..., ::-1], True),
    ):
        found = detector(image, rgb=rgb)
        np.testing.assert_array_equal(found.boxes, expected.boxes)
        np.testing.assert_array_equal(found.probabilities, expected.probabilities)


def test_a_list_gives_a_list(detector, portrait, astronaut_file):
    results = detector([portrait, np.zeros((60, 80, 3), np.uint8), astronaut_file])
    assert [len(faces) for faces in results] == [1, 0, 1]
    assert detector([]) == []
    rgb = detector((cv2.cvtColor(portrait, cv2.COLOR_BGR2RGB),), rgb=True)
    np.testing.assert_array_equal(rgb[0].boxes, results[0].boxes)


GRAY = np.zeros((48, 64), np.uint8)


@pytest.mark.parametrize(
    ("image", "advice"),
    [
        (None, "pass the path itself"),
        (b"\xff\xd8", "cv2.imdecode"),
        (3, "a NumPy array"),
        (GRAY, "cv2.COLOR_GRAY2BGR"),
        (GRAY[..., None], "cv2.COLOR_GRAY2BGR"),
        (np.zeros((48, 64, 4), np.uint8), "cv2.COLOR_BGRA2BGR"),
        (np.zeros((48, 64, 3), np.uint16), "image >> 8"),
        (np.zeros((48, 64, 3), np.float32), r"image \* 255"),
        (np.full((48, 64, 3), 200.0), r"clip\(0, 255\)"),
        (np.zeros((48, 64, 3), bool), r"image \* 255"),
        (np.zeros((3, 48, 64), np.uint8), "transpose"),
        (np.zeros((2, 48, 64, 3), np.uint8), r"list\(images\)"),
        (np.zeros((0, 64, 3), np.uint8), "empty"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_any_other_image_is_an_error_with_the_conversion_to_write(detector, image, advice):
    with pytest.raises(ImageError, match=rf"^need a \(height, width, 3\) .*; .*{advice}"):
        detector(image)


def test_a_file_that_is_missing_is_an_error(detector, tmp_path):
    with pytest.raises(SourceError, match="does not exist"):
        detector(tmp_path / "none.jpg")


def test_a_detector_is_a_context_manager(astronaut_file):
    with MaskDetector.load(threads=1) as detector:
        assert len(detector(astronaut_file)) == 1


def test_a_detector_goes_to_the_processes_of_a_pool(astronaut_file):
    detector = MaskDetector.load(threads=1, min_face_size=50)
    again = pickle.loads(pickle.dumps(detector))
    assert again._values == detector._values
    # Forked, the networks' threads would be missing.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        faces = pool.submit(detector, astronaut_file).result()
    np.testing.assert_array_equal(faces.boxes, again(astronaut_file).boxes)
