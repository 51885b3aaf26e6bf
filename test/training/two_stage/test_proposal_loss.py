# SPDX-License-Identifier: Apache-2.0
"""Cells are assigned to faces, and the loss follows."""

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train`")

from training.settings_file import read_settings  # noqa: E402
from training.two_stage.image_store import NOTHING  # noqa: E402
from training.two_stage.proposal_loss import assign, proposal_loss  # noqa: E402
from training.two_stage.proposal_network import make_priors  # noqa: E402
from training.two_stage.proposal_views import Views  # noqa: E402
from training.two_stage.training_settings import ProposalSettings  # noqa: E402

SETTINGS = read_settings(ProposalSettings, Path(__file__).parents[3] / "training" / "proposal.yaml")
PRIORS = make_priors(64, 64)
FACE = [16.0, 16.0, 40.0, 48.0]


def views(faces, kinds, ignored=()):
    boxes = torch.tensor([[*faces, [0.0] * 4]])
    hidden = torch.tensor([[*ignored, [float("nan")] * 4]])
    return Views(torch.zeros(1, 3, 64, 64), boxes, torch.tensor([[*kinds, NOTHING]]), hidden)


def outputs(confidence=-4.0):
    """Outputs of a network that sees nothing, and whose boxes are three strides wide."""
    count = len(PRIORS)
    logits = torch.full((1, count, 1), confidence)
    return {
        "cls": logits.clone().requires_grad_(),
        "obj": logits.clone().requires_grad_(),
        "bbox": torch.full((1, count, 4), 1.1).requires_grad_(),
        "kps": torch.zeros(1, count, 10, requires_grad=True),
    }


def assigned(shown):
    from training.two_stage.proposal_network import decode_boxes

    boxes = decode_boxes(torch.full((1, len(PRIORS), 4), 1.1), PRIORS)
    return assign(torch.full((1, len(PRIORS)), 0.1), boxes, PRIORS, shown)


def test_cells_in_the_middle_of_a_face_answer_for_it():
    result = assigned(views([FACE], [0]))
    cells = torch.nonzero(result.face[0] == 0)[:, 0]
    assert 1 <= len(cells) <= 10
    middles = PRIORS[cells, :2] + PRIORS[cells, 2:] / 2
    assert ((middles > 16) & (middles < 48)).all()
    assert (result.weight == 1).all()


def test_without_faces_every_cell_is_background():
    result = assigned(views([], []))
    assert (result.face == -1).all()
    assert (result.weight == 1).all()


def test_two_faces_share_no_cell():
    result = assigned(views([FACE, [20.0, 16.0, 44.0, 48.0]], [0, 1]))
    assert set(result.face[0].tolist()) >= {0, 1}


def test_cells_in_an_ignored_box_teach_nothing():
    result = assigned(views([], [], [FACE]))
    middles = PRIORS[:, :2] + PRIORS[:, 2:] / 2
    inside = ((middles > torch.tensor(FACE[:2])) & (middles < torch.tensor(FACE[2:]))).all(1)
    assert (result.weight[0, inside] == 0).all()
    assert result.weight[0].mean() > 0.3


def test_a_face_in_an_ignored_box_is_still_learned():
    result = assigned(views([FACE], [0], [[0.0, 0.0, 64.0, 64.0]]))
    positive = result.face[0] >= 0
    assert positive.any()
    assert (result.weight[0, positive] == 1).all()


def test_the_loss_pulls_towards_faces_and_away_from_background():
    predicted, published = outputs(), outputs()
    proposal_loss(predicted, published, PRIORS, views([FACE], [0]), SETTINGS).backward()
    gradient = predicted["obj"].grad[0, :, 0]
    cells = assigned(views([FACE], [0])).face[0] >= 0
    assert (gradient[cells] < 0).all()
    assert (gradient[~cells] > 0).all()


def test_where_the_published_network_is_sure_the_labels_may_lack_a_face():
    predicted, published = outputs(), outputs()
    far = torch.nonzero((PRIORS[:, 0] == 56) & (PRIORS[:, 1] == 56))[0]
    with torch.no_grad():
        for name in ("cls", "obj"):
            published[name][0, far] = 5.0
    for kinds, wanted in (([0], 0.0), ([], None)):
        predicted = outputs()
        shown = views([FACE] if kinds else [], kinds)
        proposal_loss(predicted, published, PRIORS, shown, SETTINGS).backward()
        gradient = predicted["obj"].grad[0, far, 0].item()
        # In a photograph without any face, it errs.
        assert gradient == 0.0 if wanted is not None else gradient > 0
