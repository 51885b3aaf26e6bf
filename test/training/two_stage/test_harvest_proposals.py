# SPDX-License-Identifier: Apache-2.0
"""Proposals are matched with labelled boxes."""

import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train`")

from training.two_stage.harvest_proposals import BACKGROUND, UNCLEAR, harvest, judge  # noqa: E402
from training.two_stage.image_store import load_store  # noqa: E402
from training.two_stage.photographs import read_photographs  # noqa: E402
from training.two_stage.proposal_network import ProposalNetwork  # noqa: E402

FACE, IGNORED = [10.0, 10.0, 30.0, 30.0], [60.0, 10.0, 80.0, 30.0]


@pytest.mark.parametrize(
    ("box", "shown"),
    [
        pytest.param([11, 11, 31, 31], 0, id="on the face"),
        pytest.param([18, 10, 38, 30], 0, id="a little beside"),
        pytest.param([21, 10, 41, 30], UNCLEAR, id="half beside"),
        pytest.param([10, 40, 30, 60], BACKGROUND, id="elsewhere"),
        pytest.param([12, 12, 18, 18], BACKGROUND, id="a part of the face"),
        pytest.param([60, 10, 80, 30], UNCLEAR, id="on an ignored box"),
        pytest.param([62, 12, 70, 20], UNCLEAR, id="inside an ignored box"),
    ],
)
def test_what_a_box_shows(box, shown):
    known = torch.tensor([[FACE, IGNORED, [0.0] * 4]])
    kinds = torch.tensor([[1, 3, -1]])
    boxes = torch.tensor([[[float(v) for v in box]]])
    assert judge(boxes, known, kinds)[0, 0].item() == shown


@pytest.fixture
def store(folder):
    photographs = read_photographs(folder, "train")
    return load_store(photographs, sorted({p.source for p in photographs}))


def run(store, **options):
    torch.manual_seed(0)
    settings = {"threshold": 0.1, "doubtful": 2.0, "smallest": 1, **options}
    return harvest(
        ProposalNetwork("n").eval(), store, torch.arange(len(store)), batch_size=2, **settings
    )


def test_proposals_reach_the_threshold_and_name_their_images(store):
    found = run(store)
    assert len(found) > 0
    assert found.images.unique().numel() > 1
    assert len(run(store, threshold=1.1)) == 0


def test_small_ones_are_left_out(store):
    assert len(run(store, smallest=10_000)) == 0


def test_surely_proposed_background_is_doubted_only_where_there_are_faces(store):
    found = run(store, doubtful=0.0)
    background = found.images[found.faces == BACKGROUND]
    none = len(store) - 1
    assert set(background.tolist()) <= {none}
