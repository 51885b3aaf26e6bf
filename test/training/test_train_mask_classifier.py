# SPDX-License-Identifier: Apache-2.0
"""Training from photographs to a file; needs the extra `train`."""

from dataclasses import replace

import cv2
import numpy as np
import onnxruntime
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train`")
pytest.importorskip("onnx", reason="needs the extra `train`")

from mask_detector_ros.sources import read_image  # noqa: E402
from training.mask_data import LABELS, cut_patch, read_faces  # noqa: E402
from training.mask_training_loop import Settings, Trainer, draw_epoch, vary  # noqa: E402
from training.settings_file import read_settings  # noqa: E402
from training.train_mask_classifier import SETTINGS_FILE, main  # noqa: E402

SETTINGS = """
{network: residual, teacher_share: 0.0, seed: 0,
 crop_size: 32, margin: 0.25, widths: [4, 8], blocks: [0, 1], cycles: [EPOCHS],
 batch_size: 4, learning_rate: 0.01, weight_decay: 0.01, label_smoothing: 0.05, dropout: 0.1,
 weight_average: 0.9, suspect_weight: 0.0, class_shares: [0.4, 0.4, 0.2],
 samples_per_epoch: 12, passes: 2, synthetic_mask_share: 0.3, label_biases: [0.0, 0.0, 0.2]}
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    rng = np.random.default_rng(0)
    lines = ["file,xmin,ymin,xmax,ymax,label,source,split,suspect"]
    for index in range(12):
        image = rng.integers(0, 256, (60, 60, 3), np.uint8)
        cv2.imwrite(str(tmp_path / "images" / f"{index}.png"), image)
        split = "train" if index < 6 else "val"
        lines.append(f"{index}.png,15,10,45,50,{LABELS[index % 3]},some,{split},0")
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "settings.yaml").write_text(SETTINGS.replace("EPOCHS", "2"))
    return tmp_path


def run(folder, *more: str) -> int:
    return main(
        [
            *("--data", str(folder), "--settings", str(folder / "settings.yaml")),
            *("--output", str(folder / "model.onnx"), "--checkpoint", str(folder / "run.ckpt")),
            *("--device", "cpu", "--threads", "1", "--workers", "0"),
            *more,
        ]
    )


def test_one_command_leads_from_photographs_to_a_model_and_its_report(folder, capsys):
    assert run(folder) == 0
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    (row,) = session.run(None, {"crops": np.zeros((1, 32, 32, 3), np.uint8)})[0]
    assert row.sum() == pytest.approx(1.0, abs=1e-5)
    report = capsys.readouterr().out
    assert all(name in report for name in LABELS)


def test_a_resumed_run_equals_an_uninterrupted_one(folder):
    settings = read_settings(Settings, folder / "settings.yaml")
    rows = read_faces(folder, "train")
    patches = [cut_patch(read_image(row.image), row) for row in rows]
    whole, first, second = (Trainer(settings, "cpu") for _ in range(3))
    for _ in range(2):
        whole.run_epoch(patches, rows, workers=0)
    first.run_epoch(patches, rows, workers=0)
    first.save(folder / "half.ckpt")
    second.load(folder / "half.ckpt")
    second.run_epoch(patches, rows, workers=0)
    for name, value in whole.average.state_dict().items():
        torch.testing.assert_close(second.average.state_dict()[name], value, msg=name)


def test_a_checkpoint_of_other_settings_is_refused_with_what_to_do(folder, capsys):
    assert run(folder) == 0
    (folder / "settings.yaml").write_text(SETTINGS.replace("EPOCHS", "3"))
    assert run(folder) == 1
    assert "delete it to start again" in capsys.readouterr().err


def test_an_epoch_holds_the_classes_in_their_shares_and_no_suspect_row(folder):
    labels = (folder / "labels.csv").read_text().replace("some,train,0", "some,train,1", 1)
    (folder / "labels.csv").write_text(labels)
    given = read_settings(Settings, folder / "settings.yaml")
    rows = read_faces(folder, "train")
    drawn = draw_epoch(rows, replace(given, samples_per_epoch=4000), epoch=0)
    shares = np.bincount([rows[index].label for index in drawn], minlength=3) / len(drawn)
    np.testing.assert_allclose(shares, [0.4, 0.4, 0.2], atol=0.03)
    assert not any(rows[index].suspect for index in drawn)


def test_a_crop_seen_again_is_much_like_the_first_but_not_the_same():
    torch.manual_seed(0)
    smooth = cv2.GaussianBlur(
        np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8), (0, 0), 6.0
    )
    crops = torch.from_numpy(np.stack([smooth] * 64))
    varied = vary(crops)
    assert varied.shape == crops.shape
    assert varied.dtype == torch.uint8
    difference = (varied.float() - crops.float()).abs().mean((1, 2, 3))
    assert (difference > 0).all()
    assert float(difference.median()) < 40


def test_every_pass_uses_all_samples_of_the_epoch(folder, monkeypatch):
    settings = read_settings(Settings, folder / "settings.yaml")
    rows = read_faces(folder, "train")
    patches = [cut_patch(read_image(row.image), row) for row in rows]
    trainer = Trainer(settings, "cpu")
    seen = []
    forward = trainer.network.forward
    monkeypatch.setattr(trainer.network, "forward", lambda x: seen.append(len(x)) or forward(x))
    trainer.run_epoch(patches, rows, workers=0)
    assert sum(seen) == settings.passes * settings.samples_per_epoch


def test_the_shipped_settings_are_complete():
    for path in (SETTINGS_FILE, SETTINGS_FILE.with_name("mask_teacher.yaml")):
        assert len(read_settings(Settings, path).class_shares) == len(LABELS)


def test_a_teacher_that_is_missing_is_named_with_how_to_make_it(folder, capsys):
    (folder / "settings.yaml").write_text(
        SETTINGS.replace("EPOCHS", "2").replace("teacher_share: 0.0", "teacher_share: 0.5")
    )
    assert run(folder, "--teacher", str(folder / "teacher.onnx")) == 1
    assert "make it first: python -m training.train_mask_classifier" in capsys.readouterr().err


def test_targets_are_shared_between_labels_and_teacher(folder):
    given = read_settings(Settings, folder / "settings.yaml")
    settings = replace(given, teacher_share=0.5, label_smoothing=0.0)
    trainer = Trainer(settings, "cpu", lambda crops: torch.full((len(crops), 3), 1 / 3))
    targets = trainer._targets(torch.zeros(1, 32, 32, 3, dtype=torch.uint8), torch.tensor([1]))
    torch.testing.assert_close(targets, torch.tensor([[1 / 6, 4 / 6, 1 / 6]]))


def test_the_teacher_is_fine_tuned_exported_and_taught_from(folder):
    pytest.importorskip("efficientnet_lite_pytorch", reason="needs the extra `train`")
    teacher = SETTINGS.replace("network: residual", "network: efficientnet_lite0")
    (folder / "settings.yaml").write_text(teacher.replace("EPOCHS", "1"))
    assert run(folder) == 0
    (folder / "model.onnx").rename(folder / "teacher.onnx")
    (folder / "run.ckpt").unlink()
    (folder / "settings.yaml").write_text(
        SETTINGS.replace("EPOCHS", "1").replace("teacher_share: 0.0", "teacher_share: 0.5")
    )
    assert run(folder, "--teacher", str(folder / "teacher.onnx")) == 0
    labels = onnxruntime.InferenceSession(folder / "model.onnx").get_modelmeta()
    assert "labels" in labels.custom_metadata_map
