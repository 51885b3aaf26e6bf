"""The `image_source` node: a camera made of the sample scene, files, a camera or a stream.

It publishes `image_raw` and, for the sample scene, whose faces it knows, `~/ground_truth`.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import Any

from rclpy.duration import Duration
from rclpy.exceptions import ParameterException
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray

from mask_detector_ros.errors import ParameterError, SourceError
from mask_detector_ros.imaging.scaling import reduce_image
from mask_detector_ros.parameters import Parameter
from mask_detector_ros.ros.conversions import image_to_message
from mask_detector_ros.ros.distribution import InvalidHandle, RCLError
from mask_detector_ros.ros.messages import RESULTS
from mask_detector_ros.ros.parameters import descriptor
from mask_detector_ros.ros.result_gate import ResultGate, has_reliable_subscriber
from mask_detector_ros.ros.run_node import run_node, sending
from mask_detector_ros.sources import (
    SAMPLE,
    Frame,
    FrameSource,
    is_live,
    open_source,
    without_password,
)

DEFAULT_RATE = 15.0
"""Hz, for a source without a rate of its own: images."""

MAX_PAUSE = 5.0
"""Seconds between two attempts to open a live source, at most; the first pause is 0.5."""

DISCOVERY_TIMEOUT = 10.0
"""Seconds that a subscriber of the ground truth gets to appear once the image has one. Discovery
takes 0.1 to 3 s, more on a busy machine, and differs between the two."""

ATTEMPTS = 2
"""How often a lossless frame is sent, at most, until its detections come."""

STOP_TIMEOUT = 1.0
"""Seconds that the source gets to end when the process ends."""

PARAMETERS = (
    Parameter(
        "source",
        SAMPLE,
        "sample, an image, a directory of images, a video, /dev/videoN or N, or a URL.",
    ),
    Parameter(
        "rate",
        0.0,
        "Images a second; 0 takes the source's own, 15 where it has none.",
        minimum=0.0,
        maximum=1000.0,
        unit="Hz",
    ),
    Parameter("loop", True, "Whether to begin again after the last frame."),
    Parameter(
        "max_megapixels",
        8.3,
        "Larger images are reduced to this, which the DDS profile can carry; 0 reduces none.",
        minimum=0.0,
        maximum=1000.0,
    ),
    Parameter(
        "lossless",
        False,
        "Hold a file's next frame until detections of the last one came, and stamp by its times.",
    ),
    Parameter("frame_id", "camera", "Frame id in the header of the images."),
    Parameter("width", 640, "Width of the sample scene.", minimum=64, maximum=7680, unit="px"),
    Parameter("height", 480, "Height of the sample scene.", minimum=64, maximum=4320, unit="px"),
    Parameter(
        "wait_for_subscriber",
        False,
        "Keep the first frame until the image has a subscriber and, for at most"
        f" {DISCOVERY_TIMEOUT:g} s more, until the ground truth has one.",
    ),
    Parameter(
        "frames", 0, "End after this many frames; 0 has no limit.", minimum=0, maximum=2**31 - 1
    ),
)


class ImageSourceNode(Node):
    """Publishes the frames of one source at its pace.

    A thread of its own reads the source: a camera or a stream that keeps silent must not
    keep the executor from answering.
    """

    failed = False
    callback_errors = 0

    def __init__(self) -> None:
        """Raises ParameterError where a parameter has a wrong type or value."""
        super().__init__("image_source")
        self._values = {parameter.name: self._declare(parameter) for parameter in PARAMETERS}
        self._source_name: str = self._values["source"]
        qos = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
        self._images = self.create_publisher(Image, "image_raw", qos)
        self._truths: Publisher | None = None
        if self._source_name == SAMPLE:
            self._truths = self.create_publisher(Detection2DArray, "~/ground_truth", qos)
        lossless = self._values["lossless"] and not is_live(self._source_name)
        self._gate = ResultGate(self, qos) if lossless else None
        self._has_reduced = False
        self._published = 0
        self._pause = 0.0
        # What is left to say should the thread die of an error that nobody foresaw.
        self._failure: SourceError | None = SourceError(
            "publishing failed; please report the lines above"
        )
        self._stopping = threading.Event()
        self._finished = self.create_guard_condition(self._on_finished)
        self._thread = threading.Thread(target=self._run, name="frames", daemon=True)

    def start(self) -> None:
        """Begin to publish."""
        self._thread.start()

    def close(self) -> None:
        """End the thread and the node."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(STOP_TIMEOUT)
        if self._thread.is_alive():
            # A camera that keeps silent holds it for seconds, and Python cannot end a thread:
            # leave now, before the interpreter tears down what the thread still uses.
            sys.stderr.flush()
            os._exit(0)
        self.destroy_node()

    def _declare(self, parameter: Parameter) -> Any:
        description = descriptor(parameter)
        description.additional_constraints = f"{parameter.allowed}; fixed at start"
        description.read_only = True
        try:
            value = self.declare_parameter(parameter.name, parameter.default, description).value
        except ParameterException as error:
            raise ParameterError(f"{parameter.name} must be {parameter.allowed}") from error
        # YAML makes an integer of source:=0.
        return parameter.check(str(value) if parameter.name == "source" else value)

    def _run(self) -> None:
        try:
            self._play()
            self._failure = None
        except SourceError as error:
            self._failure = error
        except (RCLError, InvalidHandle):
            # A signal has shut the context down, or closed the node, under the publisher.
            if self.context.ok():
                raise
        finally:
            if self.context.ok() and not self._stopping.is_set():
                self._finished.trigger()

    def _on_finished(self) -> None:
        if self._failure is not None:
            raise self._failure
        self.context.try_shutdown()

    def _play(self) -> None:
        """Publish until the source ends; open a live one again whenever it is lost."""
        shown = without_password(self._source_name)
        if self._values["wait_for_subscriber"]:
            self._wait_for_subscribers()
        while not self._stopping.is_set():
            try:
                with open_source(
                    self._source_name,
                    loop=self._values["loop"],
                    width=self._values["width"],
                    height=self._values["height"],
                ) as source:
                    self._publish_all(source)
            except SourceError as error:
                if not is_live(self._source_name):
                    raise
                self._pause = min(max(0.5, 2 * self._pause), MAX_PAUSE)
                self.get_logger().warning(
                    f"{error}. Trying again until it is back", throttle_duration_sec=10.0
                )
                self._stopping.wait(self._pause)
            else:
                break
        if not self._stopping.is_set():
            self._wait_until_delivered()
            self.get_logger().info(f"{shown} ended after {self._published} frames")

    def _publish_all(self, source: FrameSource) -> None:
        rate = self._values["rate"] or source.rate
        if not (rate or source.live):
            rate = DEFAULT_RATE
        period = 1 / rate if rate else 0.0
        due = time.monotonic()
        began = self.get_clock().now()
        while (frame := source.read()) is not None and not self._stopping.is_set():
            if source.live:
                if self._pause or not self._published:
                    self.get_logger().info(f"receiving {without_password(self._source_name)}")
                    self._pause = 0.0
                # A camera's own jitter must not make it miss every other frame.
                if time.monotonic() < due - period / 4:
                    continue
            elif self._stopping.wait(max(0.0, due - time.monotonic())):
                return
            stamp = self.get_clock().now()
            if self._gate is not None:
                paced = self._published * period
                own = None if self._values["rate"] else frame.time
                stamp = began + Duration(seconds=paced if own is None else own)
            self._publish(frame, Header(stamp=stamp.to_msg(), frame_id=self._values["frame_id"]))
            if self._published == self._values["frames"]:
                return
            # After a stall the pace goes on; the lost time is not caught up in a burst.
            due = max(due + period, time.monotonic())

    def _publish(self, frame: Frame, header: Header) -> None:
        message = image_to_message(self._reduce(frame), header)
        for _ in range(ATTEMPTS):
            if self._gate is not None:
                self._gate.expect(header.stamp)
            with sending(self):
                if self._truths is not None and frame.truth is not None:
                    self._truths.publish(RESULTS.detections(frame.truth, header))
                self._images.publish(message)
            if self._gate is None or self._gate.wait(self._stopping, frame.name):
                break
        self._published += 1

    def _reduce(self, frame: Frame) -> Any:
        """The frame's image, within `max_megapixels`."""
        image = reduce_image(frame.image, self._values["max_megapixels"])
        # Said of each photograph of a folder, and once of a video.
        if image is not frame.image and (frame.time is None or not self._has_reduced):
            self._has_reduced = True
            height, width = frame.image.shape[:2]
            self.get_logger().info(
                f"{frame.name} of {width}x{height} is sent as {image.shape[1]}x{image.shape[0]};"
                " max_megapixels says how large images may be"
            )
        return image

    def _wait_for_subscribers(self) -> None:
        """Return once nobody who reads the first frame can miss it, or its ground truth."""
        while self._images.get_subscription_count() == 0 and not self._stopping.wait(0.02):
            pass
        end = time.monotonic() + DISCOVERY_TIMEOUT
        while (
            not self._has_all_subscribers()
            and time.monotonic() < end
            and not self._stopping.wait(0.02)
        ):
            pass

    def _has_all_subscribers(self) -> bool:
        """Whether the ground truth has one, and a lossless image one that loses none."""
        if self._truths is not None and self._truths.get_subscription_count() == 0:
            return False
        return self._gate is None or has_reliable_subscriber(self, self._images.topic_name)

    def _wait_until_delivered(self) -> None:
        """Whoever leaves the graph takes along what it has not delivered yet."""
        limit = Duration(seconds=2.0)
        for publisher in (self._images, self._truths):
            if publisher is not None:
                publisher.wait_for_all_acked(limit)


def main(args: list[str] | None = None) -> int:
    """Run the node; 0 at the source's end or on a signal, 1 where it could not serve."""
    return run_node(ImageSourceNode, args)


if __name__ == "__main__":
    sys.exit(main())
