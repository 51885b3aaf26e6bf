# SPDX-License-Identifier: Apache-2.0
"""Views cut on a device equal those that the library cuts."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train`")

from mask_detector_ros.imaging.crops import crop_squares, square_slices  # noqa: E402
from mask_detector_ros.sources import read_image  # noqa: E402
from training.two_stage import image_store  # noqa: E402
from training.two_stage.image_store import (  # noqa: E402
    NOTHING,
    cut_views,
    levels_for,
    load_store,
)
from training.two_stage.photographs import read_photographs  # noqa: E402
from training.two_stage.view_geometry import view_matrices  # noqa: E402


@pytest.fixture
def photographs(folder):
    return read_photographs(folder, "train")


@pytest.fixture
def store(photographs):
    return load_store(photographs, sorted({p.source for p in photographs}))


def cut(store, image, square, side, **options):
    left, top, right, bottom = (float(value) for value in square)
    centre = torch.tensor([[(left + right) / 2, (top + bottom) / 2]])
    scale = torch.tensor([(right - left) / side])
    matrices = view_matrices(centre, scale, torch.zeros(1), torch.zeros(1, dtype=torch.bool), side)
    images = torch.tensor([image])
    return cut_views(store, images, matrices, levels_for(scale), side, **options)[0]


@pytest.mark.parametrize("box", [(10, 12, 42, 44), (4, 4, 90, 90), (-20, -10, 60, 70)])
def test_a_view_is_the_crop_that_the_library_would_cut(store, photographs, box):
    boxes = np.array([box], np.float32)
    (crop,) = crop_squares(read_image(photographs[0].path), boxes, 32, 0.25)
    view = cut(store, 0, square_slices(boxes, 0.25, 32)[0], 32).permute(1, 2, 0).numpy()
    inner = slice(1, -1)  # cv2.resize repeats the border where a view blends it with black.
    difference = np.abs(view - crop)[inner, inner]
    assert np.median(difference) < 1
    assert (difference > 2).mean() < 0.05


def test_outside_the_photograph_it_is_black_or_goes_on_as_its_edge(store):
    square = (-40, 20, 0, 60)
    assert cut(store, 0, square, 16)[:, :, :14].max() == 0
    extended = cut(store, 0, square, 16, extended=torch.tensor([True]))
    assert extended[:, :, :14].max() > 0
    assert torch.allclose(extended[:, :, 0], extended[:, :, 10])


@pytest.mark.parametrize("repeat", [False, True])
def test_opencv_cuts_the_views_that_torch_cuts(store, repeat):
    torch.manual_seed(0)
    count, side = 40, 24
    images = torch.randint(len(store), (count,))
    scale = 0.3 + 5 * torch.rand(count)
    mirrored = torch.rand(count) < 0.5
    centres = 96 * torch.rand(count, 2)
    matrices = view_matrices(centres, scale, torch.randn(count), mirrored, side)
    levels, extended = levels_for(scale), torch.full((count,), repeat)
    how = store, images, matrices, levels, side, extended
    with_torch, with_opencv = image_store._cut_with_torch(*how), image_store._cut_with_opencv(*how)
    # Noise, sampled on a grid of 1/32 pixel.
    difference = (with_torch - with_opencv).abs()
    assert difference.mean() < 1.5
    assert (difference > 16).float().mean() < 0.01


def test_photographs_with_fewer_boxes_are_filled_up(store):
    assert store.kinds.tolist()[1] == [0, NOTHING]


def test_painted_copies_follow_the_photographs_and_change_labels(photographs):
    def paint(photo, image, rng):
        assert photo is photographs[0]
        return np.full_like(image, rng.integers(256)), np.array([2, 3])

    sources = sorted({p.source for p in photographs})
    store = load_store(photographs, sources, painted=[0, 0], painter=paint, seed=1)
    assert len(store) == len(photographs) + 2
    assert store.painted.tolist() == [False] * len(photographs) + [True, True]
    assert store.kinds[-2:, 0].tolist() == [2, 2]
    assert torch.equal(store.boxes[-1], store.boxes[0])
    first, second = (store.pixels[store.offsets[row, 0]].tolist() for row in (-2, -1))
    assert first != second


def test_several_processes_read_the_same(photographs, store):
    sources = sorted({p.source for p in photographs})
    other = load_store(photographs, sources, workers=2)
    assert torch.equal(other.pixels, store.pixels)
