# SPDX-License-Identifier: Apache-2.0
"""`recorder`: writes detections and annotated images to a folder, for the demo.

`annotated.mp4` shows the images at the rate of their stamps. `detections.jsonl` has one JSON
object per detections message, with the ground truth of the same stamp if one is published.
"""

import contextlib
import errno
import json
import os
import sys
import time
from collections import OrderedDict, deque
from io import FileIO
from pathlib import Path
from typing import Any

from rclpy.node import Node
from sensor_msgs.msg import Image
from vision_msgs.msg import Detection2DArray

from mask_detector_ros.errors import ImageError, SourceError
from mask_detector_ros.faces import Faces, face_record
from mask_detector_ros.imaging.annotate import LABEL_COLORS
from mask_detector_ros.imaging.encodings import decode_image
from mask_detector_ros.imaging.video_writer import VideoWriter
from mask_detector_ros.live_view import LiveView
from mask_detector_ros.output_file import is_special
from mask_detector_ros.parameter_type import Parameter
from mask_detector_ros.ros.diagnostics import WARNING_PERIOD
from mask_detector_ros.ros.messages import nanoseconds
from mask_detector_ros.ros.node_parameters import declare_parameters, parameter_values
from mask_detector_ros.ros.run_node import run_node
from mask_detector_ros.ros.subscription import STEADY_CLOCK

PARAMETERS = (
    Parameter("folder", "out", "Folder for the files; those of an earlier run are replaced."),
    Parameter("rate", 15.0, "Frame rate of the video in Hz.", limits=(1.0, 120.0), unit="Hz"),
    Parameter(
        "width",
        0,
        "Size of the video; 0 uses that of the first image.",
        limits=(0, 8192),
        unit="px",
    ),
    Parameter(
        "height",
        0,
        "Size of the video; 0 uses that of the first image.",
        limits=(0, 8192),
        unit="px",
    ),
    Parameter("view", False, "Show images and counts in a web page; needs rerun-sdk."),
    Parameter("tail", 0.0, "Time for which the last image is shown.", limits=(0.0, 60.0), unit="s"),
)

LOG_NAME = "detections.jsonl"

TRUTHS_KEPT = 500
"""Queue length for ground truths: on a busy machine the recorder falls behind, and there are more
ground truths than detections."""

TRUTH_WAIT = 5.0
"""Seconds that detections wait for their ground truth, since topics have no common order."""

LONGEST_STILL = 10.0
"""Maximum seconds that the video shows a frame while no other arrives."""


class RecorderNode(Node):
    """Subscribes to `detections`, `image_annotated` and `ground_truth`."""

    failed = False
    callback_errors = 0

    def __init__(self) -> None:
        super().__init__("recorder")
        declare_parameters(self, PARAMETERS)
        values = parameter_values(self, PARAMETERS)
        self._folder = Path(values["folder"]).expanduser()
        size = (values["width"], values["height"])
        path = self._folder / "annotated.mp4"
        self._video = VideoWriter(path, values["rate"], size if all(size) else None)
        self._tail = round(values["tail"] * values["rate"])
        self._last_image: Any = None
        self._view: LiveView | None = None
        self._seen: OrderedDict[int, Faces] = OrderedDict()
        if values["view"]:
            self._view = LiveView(tuple(LABEL_COLORS))
            print(f"live view: {self._view.url}", file=sys.stderr, flush=True)
        self._log: FileIO | None = None
        self._first_stamp: int | None = None
        self._truths: OrderedDict[int, list[dict[str, Any]]] = OrderedDict()
        self._newest_truth = 0
        self._waiting_records: deque[tuple[int, float, dict[str, Any]]] = deque()
        self._truth_topic = self.create_subscription(
            Detection2DArray, "ground_truth", self._on_truth, TRUTHS_KEPT
        )
        self.create_timer(TRUTH_WAIT / 10, self._write_settled, clock=STEADY_CLOCK)
        detections = self.create_subscription(
            Detection2DArray, "detections", self._on_detections, 50
        )
        images = self.create_subscription(Image, "image_annotated", self._on_image, 20)
        self._topics = (detections.topic_name, images.topic_name)

    def start(self) -> None:
        """Open the recorder's log once someone publishes, so that waiting for it misses no
        frame."""
        self._waiting = self.create_timer(0.05, self._open_log)

    def _open_log(self) -> None:
        if not all(self.count_publishers(topic) for topic in self._topics):
            return
        self.destroy_timer(self._waiting)
        path = self._folder / LOG_NAME
        try:
            if path.is_symlink() and not is_special(path):  # what it names is not ours
                path.unlink()
            self._log = FileIO(path, "w")
        except OSError as error:
            raise SourceError(f"cannot write {path} ({error.strerror})") from error
        self.get_logger().info(f"recording into {self._folder}")

    def close(self) -> None:
        """Finish both files of the recorder."""
        if self._view is not None:
            self._view.close()
        try:
            self._write_settled(everything=True)
        except SourceError as error:
            self.get_logger().error(str(error))
        if self._log is not None:
            self._log.close()
        try:
            for _ in range(0 if self._last_image is None else self._tail):
                self._video.write(self._last_image)
            self._video.close()
        finally:
            self.destroy_node()

    def _on_truth(self, message: Detection2DArray) -> None:
        """Keep this ground truth, and all that wait.

        The executor takes one message of each topic in turn, and there are more ground truths than
        detections: those of the detections would be found later and later.
        """
        taken: tuple[Detection2DArray, Any] | None = (message, None)
        while taken is not None:
            self._newest_truth = nanoseconds(taken[0].header.stamp)
            self._truths[self._newest_truth] = to_records(taken[0])
            with self._truth_topic.handle:
                taken = self._truth_topic.handle.take_message(Detection2DArray, False)
        while len(self._truths) > TRUTHS_KEPT:
            self._truths.popitem(last=False)
        self._write_settled()

    def _on_detections(self, message: Detection2DArray) -> None:
        if self._log is None:
            return
        stamp = nanoseconds(message.header.stamp)
        latency = self.get_clock().now().nanoseconds - stamp
        record = {
            "stamp": stamp / 1e9,
            "frame_id": message.header.frame_id,
            "latency_ms": round(latency / 1e6, 3),
            "faces": to_records(message),
        }
        self._waiting_records.append((stamp, time.monotonic(), record))
        self._write_settled()

    def _write_line(self, line: bytes) -> None:
        """Append a complete line, or leave the file unchanged."""
        assert self._log is not None
        end = self._log.tell() if self._log.seekable() else 0
        try:
            if self._log.write(line) == len(line):
                return
            reason = os.strerror(errno.ENOSPC)
        except OSError as error:
            reason = str(error.strerror)
        with contextlib.suppress(OSError):
            self._log.truncate(end)
        raise SourceError(
            f"cannot write {self._folder / LOG_NAME} ({reason}); the records in it are complete; "
            "free space and restart the recorder with another folder"
        )

    def _write_settled(self, everything: bool = False) -> None:
        """Write the records whose ground truth has arrived or timed out."""
        while self._waiting_records and self._log is not None:
            stamp, since, record = self._waiting_records[0]
            if not (
                everything
                or stamp <= self._newest_truth
                or time.monotonic() - since > TRUTH_WAIT
                or self.count_publishers(self._truth_topic.topic_name) == 0
            ):
                return
            self._waiting_records.popleft()
            if stamp in self._truths:
                record["truth"] = self._truths.pop(stamp)
            try:
                self._write_line(json.dumps(record).encode() + b"\n")
            except SourceError:
                self._waiting_records.clear()
                raise

    def _on_image(self, message: Image) -> None:
        stamp = nanoseconds(message.header.stamp)
        if self._first_stamp is None:
            self._first_stamp = stamp
        try:
            image = decode_image(message)
        except ImageError as error:
            self.get_logger().warning(
                f"frame rejected: {error}", throttle_duration_sec=WARNING_PERIOD
            )
            return
        self._last_image = image
        if self._view is not None and stamp in self._seen:
            seconds = (stamp - self._first_stamp) / 1e9
            self._view.show(image, self._seen.pop(stamp), seconds)
        # Repeat frames to fill the time since the last image, so that the video runs in real
        # time even if images are missing.
        due = round((stamp - self._first_stamp) / 1e9 * self._video.rate) + 1
        missing = max(due - self._video.frame_count, 0)
        for _ in range(min(missing, round(LONGEST_STILL * self._video.rate))):
            self._video.write(image)


def to_records(message: Detection2DArray) -> list[dict[str, Any]]:
    """Convert a detections message to the recorder's JSON-ready dictionaries; see
    `mask_detector_ros.faces.face_record`."""
    records = []
    for detection in message.detections:
        centre, box = detection.bbox.center.position, detection.bbox
        low = (centre.x - box.size_x / 2, centre.y - box.size_y / 2)
        high = (centre.x + box.size_x / 2, centre.y + box.size_y / 2)
        labels = {r.hypothesis.class_id: r.hypothesis.score for r in detection.results}
        records.append(
            face_record(
                (*low, *high),
                label=next(iter(labels), ""),
                probabilities=labels,
                track_id=int(detection.id) if detection.id.isdecimal() else None,
            )
        )
    return records


def main(args: list[str] | None = None) -> int:
    """Run the node; the entry point of the executable `recorder`."""
    return run_node(RecorderNode, args)


if __name__ == "__main__":
    sys.exit(main())
