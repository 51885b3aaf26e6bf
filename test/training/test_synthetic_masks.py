# SPDX-License-Identifier: Apache-2.0
"""Masks painted on bare faces."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.synthetic_masks import paint_mask

FACE = np.full((120, 100, 3), (120, 150, 190), np.uint8)
BOX = np.array([20, 10, 80, 100], np.float32)
seeds = st.integers(0, 2**32)


def changed_rows(seed: int, incorrectly: bool) -> np.ndarray:
    """Heights in the box, 0 at the top and 1 at the bottom, where the middle column changed."""
    painted = paint_mask(FACE, BOX, np.random.default_rng(seed), incorrectly=incorrectly)
    middle = np.flatnonzero((painted != FACE).any(axis=2)[:, 50])
    return (middle - BOX[1]) / (BOX[3] - BOX[1])


@given(seeds)
def test_a_worn_mask_covers_nose_and_mouth_and_leaves_the_eyes(seed):
    rows = changed_rows(seed, incorrectly=False)
    assert 0.30 < rows.min() < 0.62
    assert rows.max() > 0.85


@given(seeds)
def test_a_mask_worn_incorrectly_leaves_the_nose_bare(seed):
    assert changed_rows(seed, incorrectly=True).min() > 0.62


@given(seeds, st.booleans())
def test_the_same_chance_paints_the_same_mask_and_leaves_the_photograph_alone(seed, incorrectly):
    before = FACE.copy()
    first, second = (
        paint_mask(FACE, BOX, np.random.default_rng(seed), incorrectly=incorrectly)
        for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(FACE, before)
    assert first.dtype == np.uint8


@pytest.mark.parametrize("box", [[-30, -30, 40, 60], [2, 2, 6, 8], [60, 80, 160, 200]])
def test_a_face_that_is_tiny_or_leaves_the_image_is_painted_without_error(box):
    painted = paint_mask(FACE, np.array(box, np.float32), np.random.default_rng(0))
    assert painted.shape == FACE.shape
