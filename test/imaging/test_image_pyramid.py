# SPDX-License-Identifier: Apache-2.0
"""The levels of an image pyramid."""

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mask_detector_ros.imaging import image_pyramid as module
from mask_detector_ros.imaging.image_pyramid import ImagePyramid, level_for
from mask_detector_ros.inference.thread_pool import ThreadPool

IMAGE = np.random.default_rng(0).integers(0, 256, (37, 50, 3), np.uint8)


@given(st.integers(1, 70), st.integers(1, 70), st.integers(0, 4))
def test_a_pixel_of_a_halving_shows_a_whole_block_of_the_image(height, width, power):
    image = np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)
    level = ImagePyramid(image)[power]
    block = 1 << power
    assert level.shape == (-(-height // block), -(-width // block), 3)
    rows, columns = height // block, width // block
    whole = image[: rows * block, : columns * block].astype(float)
    means = whole.reshape(rows, block, columns, block, 3).mean(axis=(1, 3))
    # Each level rounds.
    assert (np.abs(level[:rows, :columns] - means) <= 0.5 * power + 1e-9).all()


def test_threads_that_ask_at_a_time_get_one_halving(monkeypatch):
    both_there, halve, made = threading.Barrier(2), module._halve, []

    def slowly(image):
        made.append(threading.current_thread())
        threading.Event().wait(0.05)
        return halve(image)

    monkeypatch.setattr(module, "_halve", slowly)
    pyramid = ImagePyramid(IMAGE)
    first, second = ThreadPool(2).map(
        lambda power: (both_there.wait(30), pyramid[power])[1], [2, 2]
    )
    assert first is second
    assert len(made) == 2


def test_of_an_odd_side_the_last_pixel_counts_twice():
    level = ImagePyramid(IMAGE)[1]
    last = IMAGE[-1, ::2].astype(int) + IMAGE[-1, 1::2]
    np.testing.assert_allclose(level[-1], last / 2, atol=0.5)


def test_the_image_itself_comes_first_and_is_left_as_it_was():
    image = IMAGE.copy()
    pyramid = ImagePyramid(image)
    pyramid[5]
    assert pyramid[0] is image
    np.testing.assert_array_equal(image, IMAGE)


def test_a_pyramid_is_taken_as_it_is():
    pyramid = ImagePyramid(IMAGE)
    assert ImagePyramid.of(pyramid) is pyramid
    assert ImagePyramid.of(IMAGE)[0] is IMAGE


@given(st.integers(1, 10**6), st.integers(1, 2000))
def test_no_halving_goes_below_what_is_wanted(size, wanted):
    power = level_for(size, wanted)
    assert power == 0 or size >> power >= wanted
    assert size >> (power + 1) < wanted


@pytest.mark.parametrize(("size", "wanted", "power"), [(480, 480, 0), (480, 240, 1), (479, 240, 0)])
def test_halvings_of_known_sizes(size, wanted, power):
    assert level_for(size, wanted) == power
