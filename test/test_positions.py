# SPDX-License-Identifier: Apache-2.0
"""Rays and positions, compared with scenes whose answers are known."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from mask_detector_ros.errors import ImageError
from mask_detector_ros.faces import Faces
from mask_detector_ros.positions import FACE_SIZE, CameraModel, locate

WIDTH, HEIGHT, FOCAL = 640, 480, 500.0
SIZE = (WIDTH, HEIGHT)
DISTORTION = (-0.3, 0.1, 0.001, -0.002, 0.0)


def info(distortion: tuple[float, ...] = (), model: str = "plumb_bob", **changes: Any) -> Any:
    values = {
        "width": WIDTH,
        "height": HEIGHT,
        "k": np.array([FOCAL, 0.0, 320.0, 0.0, FOCAL, 240.0, 0.0, 0.0, 1.0]),
        "d": np.array(distortion),
        "p": np.array([600.0, 0, 300, 0, 0, 600, 200, 0, 0, 0, 1, 0]),
        "distortion_model": model,
        "roi": SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0),
    }
    return SimpleNamespace(**{**values, **changes})


CAMERA = CameraModel(info(), *SIZE)
FACE = Faces([[370, 90, 470, 190]], [0.9], np.zeros((1, 5, 2)))
"""Around (420, 140), whose ray is (0.2, -0.2, 1)."""


def depth(metres: np.ndarray, encoding: str = "16UC1", padding: int = 0, big: bool = False) -> Any:
    order = ">" if big else "<"
    if encoding == "16UC1":
        values = np.nan_to_num(metres * 1000).round().astype(f"{order}u2")
    else:
        values = metres.astype(f"{order}f4")
    rows = np.pad(values.view(np.uint8).reshape(len(metres), -1), ((0, 0), (0, padding)))
    return SimpleNamespace(
        height=len(metres),
        width=metres.shape[1],
        encoding=encoding,
        is_bigendian=int(big),
        step=rows.shape[1],
        data=rows.tobytes(),
    )


def wall_with_a_face(distance: float = 1.5, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A wall 6 m away, and a head 90 px wide around (420, 140) of the full image."""
    scale = size[0] / WIDTH
    metres = np.full((size[1], size[0]), 6.0)
    cv2.circle(metres, (round(420 * scale), round(140 * scale)), round(45 * scale), distance, -1)
    return metres


def test_the_ray_of_a_pixel_follows_the_calibration() -> None:
    rays = CAMERA.rays(np.array([[320.0, 240.0], [420.0, 140.0]]))
    np.testing.assert_allclose(rays, [[0, 0, 1], [0.2, -0.2, 1]], atol=1e-9)


@pytest.mark.parametrize(
    ("model", "distortion"),
    [("plumb_bob", DISTORTION), ("equidistant", (0.05, -0.01, 0.002, 0.0))],
)
def test_distortion_is_undone(model: str, distortion: tuple[float, ...]) -> None:
    camera = info(distortion, model)
    point = np.array([[[0.4, -0.3, 1.0]]])
    project = cv2.fisheye.projectPoints if model == "equidistant" else cv2.projectPoints
    pixel, _ = project(point, np.zeros(3), np.zeros(3), camera.k.reshape(3, 3), camera.d)
    rays = CameraModel(camera, *SIZE).rays(pixel.reshape(1, 2))
    np.testing.assert_allclose(rays, point[0], atol=1e-3)


def test_a_smaller_image_and_a_region_of_interest_have_the_same_rays() -> None:
    half = CameraModel(info(), WIDTH // 2, HEIGHT // 2)
    np.testing.assert_allclose(half.rays(np.array([[210.0, 70.0]])), [[0.2, -0.2, 1]], atol=1e-9)
    assert half.focal_length() == FOCAL / 2
    roi = SimpleNamespace(x_offset=100, y_offset=40, width=400, height=300)
    part = CameraModel(info(roi=roi), 400, 300)
    np.testing.assert_allclose(part.rays(np.array([[320.0, 100.0]])), [[0.2, -0.2, 1]], atol=1e-9)
    assert part.focal_length() == FOCAL


def test_a_rectified_image_has_the_rays_of_its_projection() -> None:
    model = CameraModel(info(DISTORTION), *SIZE, is_rectified=True)
    np.testing.assert_allclose(model.rays(np.array([[420.0, 140.0]])), [[0.2, -0.1, 1]], atol=1e-9)


def test_a_camera_without_calibration_is_told() -> None:
    with pytest.raises(ImageError, match="camera_info holds no calibration"):
        CameraModel(info(k=np.zeros(9)), *SIZE)


@pytest.mark.parametrize("encoding", ["16UC1", "32FC1"])
@pytest.mark.parametrize(("padding", "big"), [(0, False), (16, False), (0, True)])
@pytest.mark.parametrize("size", [SIZE, (320, 240)])
def test_the_face_is_where_the_depth_says(
    encoding: str, padding: int, big: bool, size: tuple[int, int]
) -> None:
    message = depth(wall_with_a_face(1.5, size), encoding, padding, big)
    found = locate(FACE, CAMERA, SIZE, message)
    np.testing.assert_allclose(found.centres, [[0.3, -0.3, 1.5]], atol=2e-3)
    np.testing.assert_allclose(found.sizes, [[0.3, 0.3, 0.3]], atol=1e-3)
    assert np.sqrt(np.linalg.eigvalsh(found.covariances[0])).max() < 0.02


def test_noise_of_the_depth_becomes_the_covariance_along_the_ray() -> None:
    metres = wall_with_a_face() + np.random.default_rng(0).normal(0, 0.05, (HEIGHT, WIDTH))
    found = locate(FACE, CAMERA, SIZE, depth(metres, "32FC1"))
    ray = np.array([0.2, -0.2, 1.0])
    unit = ray / np.linalg.norm(ray)
    along = unit @ found.covariances[0] @ unit
    assert np.sqrt(along) == pytest.approx(0.05 * np.linalg.norm(ray), rel=0.1)
    np.testing.assert_allclose(found.covariances[0] @ unit, along * unit, atol=1e-9)


def holes(share: float) -> np.ndarray:
    metres = wall_with_a_face()
    metres[np.random.default_rng(0).random(metres.shape) < share] = np.nan
    return metres


@pytest.mark.parametrize("encoding", ["16UC1", "32FC1"])
def test_holes_are_left_out_and_a_face_of_holes_is_placed_by_its_size(encoding: str) -> None:
    some = locate(FACE, CAMERA, SIZE, depth(holes(0.7), encoding))
    assert some.centres[0, 2] == pytest.approx(1.5, abs=2e-3)
    none = locate(FACE, CAMERA, SIZE, depth(holes(1.0), encoding))
    np.testing.assert_array_equal(none.centres, locate(FACE, CAMERA, SIZE).centres)


def test_without_depth_the_place_is_on_the_ray_and_unsure_along_it() -> None:
    found = locate(FACE, CAMERA, SIZE)
    distance = FOCAL * FACE_SIZE / 100
    np.testing.assert_allclose(found.centres, [[0.2 * distance, -0.2 * distance, distance]])
    spreads = np.sqrt(np.linalg.eigvalsh(found.covariances[0]))
    assert spreads[2] > 4 * spreads[1]


@pytest.mark.parametrize(
    "change",
    [
        {"k": np.full(9, np.nan)},
        {"k": np.full(9, np.inf)},
        {"k": np.full(9, 1e308)},
        {"d": np.full(5, np.nan)},
        {"d": np.full(8, 1e308)},
        {"d": np.full(3, 0.1)},
        {"d": np.full(14, 1e30), "distortion_model": "equidistant"},
    ],
)
def test_a_calibration_that_gives_no_positions_is_told(change: dict[str, Any]) -> None:
    """Once, non-finite positions were published, and a wrong number of coefficients cost the
    frame."""
    with pytest.raises(ImageError, match="camera_info"):
        locate(FACE, CameraModel(info(**change), *SIZE), SIZE)


@pytest.mark.parametrize("metres", [np.nan, np.inf, -np.inf, 3e38, -1.0])
def test_a_depth_of_any_value_gives_finite_positions(metres: float) -> None:
    found = locate(FACE, CAMERA, SIZE, depth(np.full((HEIGHT, WIDTH), metres), "32FC1"))
    assert np.isfinite(found.centres).all()
    assert np.isfinite(found.covariances).all()


def test_nobody_is_nowhere() -> None:
    found = locate(Faces.empty(), CAMERA, SIZE)
    assert found.centres.shape == (0, 3)
    assert found.covariances.shape == (0, 3, 3)


@pytest.mark.parametrize("change", [{"encoding": "mono8"}, {"step": 3}, {"data": b""}])
def test_depth_that_does_not_fit_is_told(change: dict[str, Any]) -> None:
    message = SimpleNamespace(**{**vars(depth(wall_with_a_face())), **change})
    with pytest.raises(ImageError, match="depth"):
        locate(FACE, CAMERA, SIZE, message)
