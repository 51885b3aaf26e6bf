# SPDX-License-Identifier: Apache-2.0
"""Training views of the proposal network."""

from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train`")

from training.settings_file import read_settings  # noqa: E402
from training.two_stage.image_store import NOTHING, load_store  # noqa: E402
from training.two_stage.photographs import read_photographs  # noqa: E402
from training.two_stage.proposal_views import ViewMaker  # noqa: E402
from training.two_stage.training_settings import ProposalSettings  # noqa: E402

SETTINGS = read_settings(ProposalSettings, Path(__file__).parents[3] / "training" / "proposal.yaml")


@pytest.fixture
def store(folder):
    photographs = [p for p in read_photographs(folder, "train") if not p.is_labels_only]
    return load_store(photographs, sorted({p.source for p in photographs}))


def draw(store, count=64, side=64, **changes):
    torch.manual_seed(0)
    return ViewMaker(store, replace(SETTINGS, **changes)).draw(count, side)


def test_the_same_seed_gives_the_same_views(store):
    assert torch.equal(draw(store).pixels, draw(store).pixels)


def test_faces_lie_in_the_view_and_are_large_enough(store):
    views = draw(store)
    boxes = views.boxes[views.kinds != NOTHING]
    assert len(boxes) > 20
    assert boxes.min() >= 0
    assert boxes.max() <= 64
    assert (boxes[:, 2:] - boxes[:, :2]).min() >= SETTINGS.smallest_box


def test_faces_too_small_to_learn_are_ignored_rather_than_background(store):
    views = draw(store, smallest_box=1000)
    assert (views.kinds == NOTHING).all()
    assert views.ignored.isfinite().any()


def test_more_faces_than_fit_are_ignored(store):
    # The photograph with a face and an ignored box shows both.
    views = draw(store, most_faces=1)
    assert views.boxes.shape[1] == 1


def test_photographs_without_a_face_come_in_their_share(store):
    views = draw(store, count=400, negative_share=0.5)
    empty = (views.kinds == NOTHING).all(1) & ~views.ignored.isfinite().any(2).any(1)
    assert empty.float().mean().item() == pytest.approx(0.5, abs=0.15)


def test_pixels_stay_pixels(store):
    pixels = draw(store).pixels
    assert pixels.min() >= 0
    assert pixels.max() <= 255
