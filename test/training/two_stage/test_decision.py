# SPDX-License-Identifier: Apache-2.0
"""The decision network: its crops, its loss, its calibration and its file."""

import json
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train`")

from training.settings_file import read_settings  # noqa: E402
from training.two_stage.decision_crops import NO_LABEL, Crops  # noqa: E402
from training.two_stage.decision_loss import decision_loss, predicted_boxes  # noqa: E402
from training.two_stage.decision_network import OUTPUTS, DecisionNetwork  # noqa: E402
from training.two_stage.decision_views import CropMaker  # noqa: E402
from training.two_stage.export_decision import (  # noqa: E402
    Calibration,
    calibrate,
    export_decision,
)
from training.two_stage.harvest_proposals import BACKGROUND, Proposals  # noqa: E402
from training.two_stage.image_store import load_store  # noqa: E402
from training.two_stage.photographs import read_photographs  # noqa: E402
from training.two_stage.training_settings import DecisionSettings  # noqa: E402

SETTINGS = read_settings(DecisionSettings, Path(__file__).parents[3] / "training" / "decision.yaml")
SMALL = {"widths": [4, 8, 8, 8], "blocks": [0, 0, 1, 0], "squeezed": 4, "hidden": 8}


@pytest.fixture
def maker(folder):
    photographs = read_photographs(folder, "train")
    sources = sorted({p.source for p in photographs})
    store = load_store(photographs, sources)
    proposals = Proposals(
        torch.tensor([0, 0]),
        torch.tensor([[22.0, 18.0, 62.0, 64.0], [0.0, 70.0, 20.0, 90.0]]),
        torch.tensor([0, BACKGROUND]),
    )
    return CropMaker(store, sources, proposals, SETTINGS)


def draw(maker, count=64):
    torch.manual_seed(0)
    return maker.draw(count, 32)


def test_the_same_seed_gives_the_same_crops(maker):
    first, second = draw(maker), draw(maker)
    assert torch.equal(first.pixels, second.pixels)
    assert torch.equal(first.labels, second.labels)


def test_background_has_its_share_and_no_label(maker):
    crops = draw(maker, 400)
    background = ~crops.is_face
    assert background.float().mean().item() == pytest.approx(SETTINGS.background_share, abs=0.1)
    assert (crops.labels[background] == NO_LABEL).all()
    assert (crops.label_weight[background] == 0).all()
    assert (crops.box_weight[background] == 0).all()
    assert crops.landmarks[background].isnan().all()


def test_all_labels_are_drawn(maker):
    assert set(draw(maker, 200).labels.tolist()) == {NO_LABEL, 0, 1, 2}


def test_the_box_of_a_head_s_crop_teaches_its_label_only(folder):
    photographs = [p for p in read_photographs(folder, "train") if p.is_labels_only]
    store = load_store(photographs, ["chandrikadeb7"])
    none = torch.zeros(0, dtype=torch.long)
    nothing = Proposals(none, torch.zeros(0, 4), none)
    settings = replace(SETTINGS, background_share=0.0)
    crops = CropMaker(store, ["chandrikadeb7"], nothing, settings).draw(8, 32)
    assert (crops.box_weight == 0).all()
    assert (crops.label_weight > 0).all()


class SaysMask(torch.nn.Module):
    """A teacher that calls every face masked."""

    def forward(self, pixels):
        return {"labels": torch.tensor([[9.0, 0.0, 0.0]]).expand(len(pixels), 3)}


class SaysBare(torch.nn.Module):
    def forward(self, pixels):
        return {"labels": torch.tensor([[0.0, 9.0, 0.0]]).expand(len(pixels), 3)}


def test_the_mean_of_the_teachers_is_taught_of_every_face(maker):
    assert (draw(maker).taught == 0).all()
    maker.learn_from([(SaysMask(), 32), (SaysBare(), 64)])
    crops = draw(maker)
    expected = torch.tensor([0.5, 0.5, 0.0]).expand(int(crops.is_face.sum()), 3)
    assert torch.allclose(crops.taught[crops.is_face], expected, atol=1e-3)
    assert (crops.taught[~crops.is_face] == 0).all()


def test_painted_masks_keep_their_own_label(folder):
    photographs = [p for p in read_photographs(folder, "train") if p.path.name == "bare.png"]

    def paint(photo, image, rng):
        return image, np.array([2, 3])

    store = load_store(photographs, ["some"], painted=[0], painter=paint)
    none = torch.zeros(0, dtype=torch.long)
    nothing = Proposals(none, torch.zeros(0, 4), none)
    maker = CropMaker(store, ["some"], nothing, replace(SETTINGS, background_share=0.0))
    maker.learn_from([(SaysMask(), 32)])
    crops = draw(maker)
    painted = crops.labels == 2
    assert painted.any()
    assert not painted.all()
    assert (crops.taught[painted].argmax(1) == 2).all()
    assert (crops.taught[~painted].argmax(1) == 0).all()


def test_pairs_show_what_the_teachers_saw(maker):
    seen = []

    class Teacher(SaysMask):
        def forward(self, pixels):
            seen.append(pixels.shape)
            return super().forward(pixels)

    torch.manual_seed(0)
    pixels, taught = maker.draw_pairs(6, 32, [(Teacher(), 64), (Teacher(), 32)])
    assert seen == [(6, 3, 64, 64), (6, 3, 32, 32)]
    assert pixels.shape == (6, 3, 32, 32)
    assert torch.allclose(taught.sum(1), torch.ones(6))


def test_labels_behind_hands_teach_less(folder):
    photographs = [p for p in read_photographs(folder, "train") if not p.is_labels_only]
    sources = sorted({p.source for p in photographs})
    none = torch.zeros(0, dtype=torch.long)
    nothing = Proposals(none, torch.zeros(0, 4), none)
    changes = replace(SETTINGS.changes, hand=1.0)
    settings = replace(SETTINGS, background_share=0.0, changes=changes)
    crops = CropMaker(load_store(photographs, sources), sources, nothing, settings).draw(32, 32)
    weights = crops.label_weight[crops.score_weight > 0]
    assert ((weights > 0) & (weights < 0.5)).any()
    assert (weights < 0.5).float().mean() > 0.8


def crops_of(**changes):
    values = {
        "pixels": torch.zeros(2, 3, 32, 32),
        "labels": torch.tensor([1, NO_LABEL]),
        "taught": torch.zeros(2, 3),
        "is_face": torch.tensor([True, False]),
        "score_weight": torch.ones(2),
        "label_weight": torch.tensor([1.0, 0.0]),
        "boxes": torch.tensor([[0.2, 0.2, 0.8, 0.8], [0.0, 0.0, 0.0, 0.0]]),
        "box_weight": torch.tensor([1.0, 0.0]),
        "landmarks": torch.full((2, 5, 2), float("nan")),
        **changes,
    }
    assert set(values) == {field.name for field in fields(Crops)}
    return Crops(**values)


def outputs():
    return {name: torch.zeros(2, count, requires_grad=True) for name, count in OUTPUTS.items()}


def gradients(crops, progress=0.0, settings=SETTINGS):
    predicted = outputs()
    decision_loss(predicted, crops, replace(settings, teacher_share=0.0), progress).backward()
    return {name: value.grad for name, value in predicted.items()}


def test_offsets_of_zero_are_the_crop_itself():
    assert predicted_boxes(torch.zeros(1, 4)).tolist() == [[0, 0, 1, 1]]


def test_faces_are_pulled_up_and_background_down():
    gradient = gradients(crops_of())["scores"][:, 0]
    assert gradient[0] < 0 < gradient[1]


def test_what_is_unclear_teaches_no_score():
    gradient = gradients(crops_of(score_weight=torch.tensor([0.0, 1.0])))["scores"][:, 0]
    assert gradient[0] == 0


def test_background_teaches_neither_label_nor_box_and_unknown_landmarks_nothing():
    gradient = gradients(crops_of())
    assert (gradient["labels"][1] == 0).all()
    assert (gradient["offsets"][1] == 0).all()
    assert gradient["labels"][0].abs().sum() > 0
    assert gradient["landmarks"].abs().sum() == 0


def test_late_in_training_a_badly_placed_box_lowers_the_wanted_score():
    predicted = {name: value.detach() for name, value in outputs().items()}
    predicted["scores"] = torch.tensor([[3.0], [-3.0]])
    settings = replace(SETTINGS, box_weight=0.0, label_weight=0.0, teacher_share=0.0)
    early, late = (decision_loss(predicted, crops_of(), settings, at).item() for at in (0.0, 1.0))
    assert late > early


def test_calibration_makes_labels_most_likely_and_charges_for_mistakes():
    torch.manual_seed(0)
    labels = torch.arange(300) % 3
    logits = 8 * torch.nn.functional.one_hot(labels, 3) + 4 * torch.randn(300, 3)
    plain = calibrate(logits, labels, [0.0, 0.0, 0.0], 0.7)
    dear = calibrate(logits, labels, [0.0, 0.0, -0.5], 0.7)
    assert dear.label_biases[2] == pytest.approx(plain.label_biases[2] - 0.5, abs=1e-4)
    loss = torch.nn.functional.cross_entropy
    fitted = logits / plain.temperature + torch.tensor(plain.label_biases)
    assert loss(fitted, labels) < loss(logits.float(), labels)
    assert plain.score_addend == pytest.approx(0)
    assert calibrate(logits, labels, [0.0] * 3, 0.3).score_addend > 0


@pytest.mark.parametrize("crop_size", [32, 64])
def test_the_file_computes_what_the_network_does(tmp_path, crop_size):
    torch.manual_seed(0)
    network = DecisionNetwork(crop_size, **SMALL).eval()
    calibration = Calibration(0.5, 2.0, (0.0, 0.1, -0.3))
    export_decision(
        network,
        tmp_path / "decision.onnx",
        crop_size=crop_size,
        margin=0.25,
        calibration=calibration,
    )
    crops = np.random.default_rng(0).integers(0, 256, (3, crop_size, crop_size, 3), np.uint8)
    session = onnxruntime.InferenceSession(tmp_path / "decision.onnx")
    scores, offsets, landmarks, probabilities = session.run(None, {"crops": crops})
    with torch.no_grad():
        wanted = network(torch.from_numpy(crops).permute(0, 3, 1, 2).float())
    close = {"atol": 1e-4}
    np.testing.assert_allclose(scores, (wanted["scores"][:, 0] + 0.5).sigmoid(), **close)
    np.testing.assert_allclose(offsets, wanted["offsets"], **close)
    np.testing.assert_allclose(landmarks[..., 0], wanted["landmarks"][:, :5], **close)
    np.testing.assert_allclose(landmarks[..., 1], wanted["landmarks"][:, 5:], **close)
    labels = (wanted["labels"] / 2 + torch.tensor([0.0, 0.1, -0.3])).softmax(1)
    np.testing.assert_allclose(probabilities, labels, **close)
    metadata = {e.key: e.value for e in onnx.load(tmp_path / "decision.onnx").metadata_props}
    assert json.loads(metadata["labels"])[2] == "mask_worn_incorrectly"
    assert metadata["margin"] == "0.25"
