# SPDX-License-Identifier: Apache-2.0
"""The whole graph on the sample scene, compared with the scene's ground truth."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: run `make setup`")

from ros_graph import ROOT
from waiting import LIMIT

from mask_detector_ros.evaluation.matching import count_matches
from mask_detector_ros.ros.demo.report import MIN_SCORED_SIDE, to_faces

pytestmark = pytest.mark.graph


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
    scores = count_matches(pairs, MIN_SCORED_SIDE)
    assert scores["without_mask"].recall >= 0.95
    assert scores["with_mask"].recall >= 0.75
    assert scores["mask_worn_incorrectly"].present > 0
    assert len(pairs) >= 0.5 * len(records), "a recorder that falls behind loses ground truth"
    # A label follows a face after some frames: after a pause these are a larger share.
    if np.diff([record["stamp"] for record in records]).max() < 0.25:
        for label, score in scores.items():
            assert score.label_accuracy >= 0.9, label
    right, found = (sum(getattr(s, n) for s in scores.values()) for n in ("right", "found"))
    assert right >= 0.7 * found


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


def test_every_photograph_of_a_phone_is_shown_once(tmp_path: Path, portrait: np.ndarray) -> None:
    """Given photographs of 12 and 36 megapixels, as phones take them, and a file that is not an
    image."""
    photographs = tmp_path / "my photographs"
    photographs.mkdir()
    sizes = [(4032, 3024), (8000, 4500), (3024, 4032)]
    for number, (width, height) in enumerate(sizes):
        image = np.full((height, width, 3), 60 * number + 30, np.uint8)
        # The last face is half as large, so that it can be told from the others.
        side = height // (4 if number == 2 else 2)
        image[:side, :side] = cv2.resize(portrait, (side, side))
        cv2.imwrite(str(photographs / f"{number}.jpg"), image)
    (photographs / "notes.txt").touch()
    result = run_demo(tmp_path / "out", "--source", str(photographs))
    assert result.returncode == 0, result.stdout + result.stderr
    assert "left out of" in result.stderr
    assert "notes.txt" in result.stderr
    assert "1.jpg of 8000x4500 is sent as 3841x2160" in result.stderr
    records = read_lines(tmp_path / "out")
    assert [len(record["faces"]) for record in records] == [1, 1, 1], result.stderr
    assert np.diff([record["stamp"] for record in records]) == pytest.approx([1.0, 1.0])
    video = cv2.VideoCapture(str(tmp_path / "out" / "annotated.mp4"))
    assert video.read()[1].shape == (720, 960, 3)
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) / video.get(cv2.CAP_PROP_FPS) == pytest.approx(
        3.0, abs=0.2
    )


def make_film(path: Path, portrait: np.ndarray, frames: int) -> Path:
    """The portrait, moved to the right by two pixels a frame, at 25 Hz."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25, (512, 512))
    for number in range(frames):
        writer.write(np.roll(portrait, 2 * number, axis=1))
    writer.release()
    return path


@pytest.mark.parametrize("options", [(), ("--without-ros",)])
def test_every_frame_of_a_film_is_seen_at_its_time(
    options: tuple[str, ...], tmp_path: Path, portrait: np.ndarray
) -> None:
    film = make_film(tmp_path / "a film.mp4", portrait, 40)
    result = run_demo(tmp_path / "out", "--source", str(film), *options)
    assert result.returncode == 0, result.stdout + result.stderr
    records = read_lines(tmp_path / "out")
    assert len(records) == 40
    assert np.diff([record["stamp"] for record in records]) == pytest.approx(0.04, abs=1e-3)
    lefts = [record["faces"][0]["box"][0] for record in records]
    assert lefts[-1] - lefts[0] == pytest.approx(78, abs=15)
    assert "latency" not in result.stdout
    assert "image stamp" not in result.stdout
    video = cv2.VideoCapture(str(tmp_path / "out" / "annotated.mp4"))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 40


def test_without_ros_the_library_plays_the_scene_and_says_so(tmp_path: Path) -> None:
    result = run_demo(tmp_path, "--duration", "3", "--without-ros")
    assert result.returncode == 0, result.stderr
    first, *_ = result.stdout.splitlines()
    assert first == "without ROS (as asked): playing sample with the library alone"
    assert "against the ground truth of 45 frames" in result.stdout
    records = read_lines(tmp_path)
    assert len(records) == 45
    assert set(records[0]) == {"stamp", "frame_id", "latency_ms", "faces", "truth"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["annotated.mp4", "detections.jsonl"]


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
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("rtsp://adm:se#cret@127.0.0.1:9/live", "nothing listens at this port"),
        ("http://127.0.0.1:9/live?password=secret", "nothing listens at this port"),
        ("rstp://adm:secret@127.0.0.1/live", "no scheme 'rstp'"),
        ("/dev/video4242", "there is no camera"),
    ],
)
def test_a_camera_that_is_not_there_is_said_at_once_and_without_its_password(
    source: str, reason: str, tmp_path: Path
) -> None:
    begin = time.monotonic()
    result = run_demo(tmp_path / "out", "--source", source, "--duration", "5")
    assert result.returncode == 1
    assert reason in result.stderr
    assert result.stderr.count("\n") == 1
    assert "cret" not in result.stderr + result.stdout
    assert time.monotonic() - begin < LIMIT


def test_the_demo_does_not_replace_its_own_source(tmp_path: Path, portrait: np.ndarray) -> None:
    film = make_film(tmp_path / "annotated.mp4", portrait, 3)
    before = film.read_bytes()
    result = run_demo(tmp_path, "--source", str(film))
    assert result.returncode == 2
    assert "would be replaced by the demo" in result.stderr
    assert film.read_bytes() == before


@pytest.mark.parametrize("options", [(), ("--without-ros",)])
def test_the_demo_can_be_watched(options: tuple[str, ...], tmp_path: Path) -> None:
    pytest.importorskip("rerun", reason="needs the viewer: pip install rerun-sdk")
    result = run_demo(tmp_path, "--duration", "3", "--view", *options)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "live view: http://127.0.0.1:" in result.stderr
    assert len(read_lines(tmp_path)) >= 10
