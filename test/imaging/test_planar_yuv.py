# SPDX-License-Identifier: Apache-2.0
"""Planar YUV, compared with plain NumPy: every pixel by the formula of ITU-R BT.601."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mask_detector_ros.errors import ImageError
from mask_detector_ros.imaging.planar_yuv import PLANAR_ENCODINGS, decode_planar

WIDTH, HEIGHT = 8, 6


def planes(seed: int, share: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Y at every pixel; U and V at every `share`-th one in both directions."""
    random = np.random.default_rng(seed)
    shapes = ((HEIGHT, WIDTH), *2 * ((HEIGHT // share, WIDTH // share),))
    return tuple(random.integers(0, 256, shape, np.uint8) for shape in shapes)


def expected(y: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    y = 1.164 * np.maximum(y - 16.0, 0)
    u, v = (np.kron(c, np.ones(np.divide(y.shape, c.shape).astype(int))) - 128.0 for c in (u, v))
    bgr = np.stack([y + 2.018 * u, y - 0.813 * v - 0.391 * u, y + 1.596 * v], axis=2)
    return np.clip(bgr, 0, 255)


def pack(encoding: str, y: np.ndarray, u: np.ndarray, v: np.ndarray, padding: int) -> bytes:
    """The bytes of an image with `padding` after each row of luma and of chroma."""

    def rows(plane: np.ndarray, extra: int) -> bytes:
        flat = plane.reshape(len(plane), -1)
        return np.pad(flat, ((0, 0), (0, extra)), constant_values=0xEE).tobytes()

    if encoding == "yv12":
        u, v = v, u
    if encoding.lower() in ("i420", "yv12"):
        return rows(y, padding) + rows(u, padding // 2) + rows(v, padding // 2)
    pairs = np.stack([v, u] if encoding == "nv21" else [u, v], axis=2)
    return rows(y, padding) + rows(pairs, padding * (2 if encoding == "nv24" else 1))


@given(st.integers(0, 10**6), st.sampled_from(PLANAR_ENCODINGS), st.sampled_from([0, 2, 8]))
def test_every_pixel_has_its_colour_with_any_padding(
    seed: int, encoding: str, padding: int
) -> None:
    yuv = planes(seed, 1 if encoding == "nv24" else 2)
    data = pack(encoding, *yuv, padding)
    read = decode_planar(data, WIDTH, HEIGHT, WIDTH + padding, encoding)
    assert read.dtype == np.uint8
    assert np.abs(read - expected(*yuv)).max() <= 2


@pytest.mark.parametrize("step", [0, WIDTH * 3 // 2, 2 * WIDTH, 3 * WIDTH])
@pytest.mark.parametrize("encoding", PLANAR_ENCODINGS)
def test_without_padding_any_step_will_do(encoding: str, step: int) -> None:
    yuv = planes(0, 1 if encoding == "nv24" else 2)
    read = decode_planar(pack(encoding, *yuv, 0), WIDTH, HEIGHT, step, encoding)
    assert np.abs(read - expected(*yuv)).max() <= 2


@pytest.mark.parametrize(
    ("encoding", "width", "length", "reason"),
    [
        ("nv12", 8, 8 * 9 - 1, "has 71 bytes, but 8x6 pixels of nv12 need 72, or 9 rows of step 8"),
        ("nv21", 8, 8 * 6, "has 48 bytes"),
        ("nv24", 8, 8 * 9, "need 144, or 18 rows"),
        ("I420", 8, 8 * 9 + 1, "has 73 bytes"),
        ("I420", 6, 8 * 9, None),
        ("nv12", 7, 8 * 9, "needs an even width and height, got 7x6"),
        ("nv12", 10, 8 * 9, "10x6 pixels of nv12 need 90"),
    ],
)
def test_what_does_not_fit_is_rejected_with_the_numbers(
    encoding: str, width: int, length: int, reason: str | None
) -> None:
    if reason is None:
        assert decode_planar(bytes(length), width, HEIGHT, 8, encoding).shape == (HEIGHT, width, 3)
        return
    with pytest.raises(ImageError, match=reason):
        decode_planar(bytes(length), width, HEIGHT, 8, encoding)
