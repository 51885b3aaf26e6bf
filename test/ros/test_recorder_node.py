# SPDX-License-Identifier: Apache-2.0
"""The recorder writes what it receives."""

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
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray
from waiting import LIMIT, wait_until

from benchmark.processes import happens
from mask_detector_ros.faces import Faces
from mask_detector_ros.ros.conversions import image_to_message
from mask_detector_ros.ros.messages import RESULTS

LABELS = ("with_mask", "without_mask")


def header_at(seconds: float) -> Header:
    header = Header(frame_id="camera")
    header.stamp.sec, header.stamp.nanosec = int(seconds), round(seconds % 1 * 10**9)
    return header


def test_detections_truth_and_images_are_recorded(graph: Any, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    recorder = graph.start("recorder_node", folder=str(folder), rate=10.0)
    client = graph.client()
    detections = client.advertise(Detection2DArray, "/detections", 10)
    truths = client.advertise(Detection2DArray, "/ground_truth", 10)
    images = client.advertise(Image, "/image_annotated", 10)
    graph.wait_for_output(recorder, "recording into")
    faces = Faces(
        [[10, 20, 50, 80]], [0.9], np.zeros((1, 5, 2)), [[0.25, 0.75]], LABELS, track_ids=[7]
    )
    picture = np.full((31, 41, 3), 128, np.uint8)

    log = folder / "detections.jsonl"

    def lines() -> list[dict[str, Any]]:
        return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]

    def truth_comes_second() -> list[Any]:
        detections.publish(RESULTS.detections(faces, header_at(100.0)))
        detections.wait_for_all_acked()
        truths.publish(RESULTS.detections(faces, header_at(100.0)))
        return happens(lambda: [line for line in lines() if "truth" in line], 2.0)

    wait_until(truth_comes_second, what="detections with their truth")
    detections.publish(RESULTS.detections(Faces.empty(LABELS), header_at(101.5)))
    wait_until(lambda: lines()[-1]["stamp"] == 101.5, what="the empty array")
    for seconds in (100.0, 100.1, 101.5):
        images.publish(image_to_message(picture, header_at(seconds)))
    images.wait_for_all_acked()
    # The executor takes one message of each topic in turn: after these, the images are through.
    for seconds in (102.0, 103.0, 104.0, 105.0):
        detections.publish(RESULTS.detections(Faces.empty(LABELS), header_at(seconds)))
        wait_until(lambda seconds=seconds: lines()[-1]["stamp"] == seconds, what="the next array")
    assert graph.end(recorder) == 0

    with_truth = next(line for line in lines() if "truth" in line)
    # The records of `--json`, but for what a Detection2D does not hold.
    (expected,) = faces.to_records()
    del expected["score"], expected["landmarks"]
    assert with_truth["faces"] == [expected]
    assert with_truth["truth"] == with_truth["faces"]
    assert with_truth["frame_id"] == "camera"
    assert lines()[-1]["faces"] == []
    video = cv2.VideoCapture(str(folder / "annotated.mp4"))
    # 1.5 s at 10 Hz, the first frame included.
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 16


def test_a_folder_that_cannot_be_written_is_one_line(graph: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    process = graph.start("recorder_node", folder=str(tmp_path / "file" / "out"))
    assert process.wait(LIMIT) == 1
    assert "error: cannot write" in graph.output(process)
    assert "Traceback" not in graph.output(process)


def test_a_full_disk_is_one_line_and_leaves_whole_lines(graph: Any, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "detections.jsonl").symlink_to("/dev/full")
    recorder = graph.start("recorder_node", folder=str(folder))
    client = graph.client()
    detections = client.advertise(Detection2DArray, "/detections", 10)
    client.advertise(Image, "/image_annotated", 10)
    graph.wait_for_output(recorder, "recording into")
    detections.publish(RESULTS.detections(Faces.empty(LABELS), header_at(1.0)))
    assert recorder.wait(LIMIT) == 1
    output = graph.output(recorder)
    assert "error: cannot write" in output
    assert "No space left on device" in output
    assert "Traceback" not in output


def test_a_line_that_does_not_fit_leaves_no_part_of_it(tmp_path: Path) -> None:
    """Given a file that may grow to 100 bytes, in a separate process."""
    script = f"""
import resource, sys
from io import FileIO
from pathlib import Path
from mask_detector_ros.errors import SourceError
from mask_detector_ros.ros.recorder_node import RecorderNode

node = RecorderNode.__new__(RecorderNode)
node._folder, node._log = Path({str(tmp_path)!r}), FileIO({str(tmp_path / "log")!r}, "w")
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
try:
    for _ in range(10):
        node._write_line(b"x" * 29 + b"\\n")
except SourceError as error:
    sys.exit(0 if "the records in it are complete" in str(error) else 2)
"""
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT).returncode == 0
    assert (tmp_path / "log").read_bytes() == (b"x" * 29 + b"\n") * 3


def test_damaged_images_end_no_recorder(graph: Any, tmp_path: Path) -> None:
    recorder = graph.start("recorder_node", folder=str(tmp_path / "out"))
    client = graph.client()
    client.advertise(Detection2DArray, "/detections", 10)
    images = client.advertise(Image, "/image_annotated", 10)
    graph.wait_for_output(recorder, "recording into")
    images.publish(Image(height=4, width=4, step=12, encoding="bgr8", data=bytes(7)))
    graph.wait_for_output(recorder, "frame rejected: the image has 7 bytes")
    images.publish(image_to_message(np.zeros((48, 64, 3), np.uint8), header_at(1.0)))
    images.wait_for_all_acked()
    assert graph.end(recorder) == 0
    assert (tmp_path / "out" / "annotated.mp4").is_file()
