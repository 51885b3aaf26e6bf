"""Training from photographs to a file; needs the extra `train`."""

import cv2
import numpy as np
import onnxruntime
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train`")
pytest.importorskip("onnx", reason="needs the extra `train`")

from training.face_data import LABELS, cut_patch, read_faces, read_image  # noqa: E402
from training.train_mask_classifier import (  # noqa: E402
    SETTINGS_FILE,
    Settings,
    Trainer,
    draw_epoch,
    main,
    read_settings,
)

SETTINGS = """
{seed: 0, crop_size: 32, margin: 0.25, widths: [4, 8], blocks: [0, 1], cycles: [EPOCHS],
 batch_size: 4, learning_rate: 0.01, weight_decay: 0.01, label_smoothing: 0.05, dropout: 0.1,
 weight_average: 0.9, suspect_weight: 0.0, class_shares: [0.4, 0.4, 0.2],
 samples_per_epoch: 12, synthetic_mask_share: 0.3}
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


def run(folder) -> int:
    return main(
        [
            *("--data", str(folder), "--settings", str(folder / "settings.yaml")),
            *("--output", str(folder / "model.onnx"), "--checkpoint", str(folder / "run.ckpt")),
            *("--device", "cpu", "--threads", "1", "--workers", "0"),
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
    settings = read_settings(folder / "settings.yaml")
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
    assert "delete it to start anew" in capsys.readouterr().err


def test_an_epoch_holds_the_classes_in_their_shares_and_no_suspect_row(folder):
    labels = (folder / "labels.csv").read_text().replace("some,train,0", "some,train,1", 1)
    (folder / "labels.csv").write_text(labels)
    fields = read_settings(folder / "settings.yaml").__dict__ | {"samples_per_epoch": 4000}
    rows = read_faces(folder, "train")
    drawn = draw_epoch(rows, Settings(**fields), epoch=0)
    shares = np.bincount([rows[index].label for index in drawn], minlength=3) / len(drawn)
    np.testing.assert_allclose(shares, [0.4, 0.4, 0.2], atol=0.03)
    assert not any(rows[index].suspect for index in drawn)


def test_the_shipped_settings_are_complete():
    assert len(read_settings(SETTINGS_FILE).class_shares) == len(LABELS)
