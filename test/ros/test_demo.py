"""The whole graph on the sample scene, judged by the scene's ground truth."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: run `make setup`")

from ros_graph import ROOT

from mask_detector_ros.evaluation.matching import score_faces
from mask_detector_ros.ros.demo.report import MIN_SCORED_SIDE, to_faces


def run_demo(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mask_detector_ros.ros.demo", "--out", str(folder), *options]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=180, check=False
    )


def read_lines(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "detections.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def sample_demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("demo")
    result = run_demo(folder, "--duration", "20")
    assert result.returncode == 0, result.stdout + result.stderr
    return folder, result.stdout


def test_the_sample_scene_is_seen_as_it_is(sample_demo: tuple[Path, str]) -> None:
    records = read_lines(sample_demo[0])
    pairs = [(to_faces(r["faces"]), to_faces(r["truth"])) for r in records if "truth" in r]
    assert len(pairs) >= 0.9 * len(records)
    scores = score_faces(pairs, MIN_SCORED_SIDE)
    assert scores["without_mask"].recall >= 0.95
    assert scores["with_mask"].recall >= 0.75
    assert scores["mask_worn_incorrectly"].present > 0
    # A label follows a face after some frames; of few frames a second they are a larger share.
    pace = len(records) / (records[-1]["stamp"] - records[0]["stamp"])
    for label, score in scores.items():
        assert score.label_accuracy >= (0.9 if pace > 8 else 0.7), label


def test_the_report_names_pace_and_classes(sample_demo: tuple[Path, str]) -> None:
    text = sample_demo[1]
    for words in ("frames/s", "with_mask", "without_mask", "against the ground truth"):
        assert words in text


def test_the_video_runs_at_the_pace_of_the_stamps(sample_demo: tuple[Path, str]) -> None:
    records = read_lines(sample_demo[0])
    video = cv2.VideoCapture(str(sample_demo[0] / "annotated.mp4"))
    seconds = video.get(cv2.CAP_PROP_FRAME_COUNT) / video.get(cv2.CAP_PROP_FPS)
    assert seconds == pytest.approx(records[-1]["stamp"] - records[0]["stamp"], abs=1.0)
    shown, frame = video.read()
    assert shown
    assert frame.shape == (480, 640, 3)


def test_a_folder_of_photographs_is_shown_to_its_end(tmp_path: Path, portrait: np.ndarray) -> None:
    photographs = tmp_path / "my photographs"
    photographs.mkdir()
    for number in range(3):
        # The last one is larger, so that it can be told from the others.
        scale = 2 if number == 2 else 1
        image = cv2.resize(portrait, None, fx=scale, fy=scale)
        cv2.imwrite(str(photographs / f"{number}.png"), image[: 512 * scale - number])
    result = run_demo(tmp_path / "out", "--source", str(photographs))
    assert result.returncode == 0, result.stdout + result.stderr
    records = read_lines(tmp_path / "out")
    # On a busy machine a newer photograph may take the place of one that still waits.
    assert 1 <= len(records) <= 3
    widths = [
        max(face["box"][2] - face["box"][0] for face in record["faces"]) for record in records
    ]
    assert [width > 130 for width in widths] == [False] * (len(records) - 1) + [True], widths
    video = cv2.VideoCapture(str(tmp_path / "out" / "annotated.mp4"))
    assert video.read()[1].shape == (720, 960, 3)


@pytest.mark.parametrize(
    ("content", "reason"), [(None, "does not exist"), ("no video", "is a text file, not a video")]
)
def test_a_source_that_cannot_be_read_ends_the_demo(
    tmp_path: Path, content: str | None, reason: str
) -> None:
    source = tmp_path / "film.mp4"
    if content is not None:
        source.write_text(content)
    result = run_demo(tmp_path / "out", "--source", str(source))
    assert result.returncode == 1
    assert reason in result.stderr
    assert "Traceback" not in result.stderr
