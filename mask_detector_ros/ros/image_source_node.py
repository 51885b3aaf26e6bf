# SPDX-License-Identifier: Apache-2.0
"""The `image_source` node: publishes the sample scene, files, a camera or a stream as a camera.

It publishes `image_raw`, `image_raw/compressed` while someone subscribes to it, and, for the sample
scene, whose faces are known, `~/ground_truth`.
"""

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
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray

from mask_detector_ros import sources
from mask_detector_ros.errors import ParameterError, SourceError
from mask_detector_ros.imaging.scaling import reduce_image
from mask_detector_ros.parameter_type import Parameter
from mask_detector_ros.ros.conversions import image_to_compressed, image_to_message
from mask_detector_ros.ros.distribution import InvalidHandle, RCLError
from mask_detector_ros.ros.messages import RESULTS
from mask_detector_ros.ros.node_parameters import descriptor, given_parameters
from mask_detector_ros.ros.publishing import warn_if_unsent
from mask_detector_ros.ros.result_gate import ResultGate, has_reliable_subscriber
from mask_detector_ros.ros.run_node import run_node

DEFAULT_RATE = 15.0
"""Rate in Hz of a source without a rate: images."""

MAX_PAUSE = 5.0
"""Maximum seconds between two attempts to open a live source; the first pause is 0.5."""

DISCOVERY_TIMEOUT = 10.0
"""Seconds to wait for the ground truth's subscriber once the image has one: discovery takes 3 s."""

ATTEMPTS = 2
"""Maximum number of times a lossless frame is sent until its detections arrive."""

STOP_TIMEOUT = 1.0
"""Seconds that the source has to stop when the process ends."""

PARAMETERS = (
    Parameter(
        "source",
        sources.SAMPLE,
        "sample, an image, a directory of images, a video, /dev/videoN or N, or a URL.",
    ),
    Parameter(
        "rate",
        0.0,
        "Frames per second; 0 uses the source's own rate, or 15 if it has none.",
        limits=(0.0, 1000.0),
        unit="Hz",
    ),
    Parameter("loop", True, "Whether to restart after the last frame."),
    Parameter(
        "max_megapixels",
        8.3,
        "Larger images are reduced to this size, which the DDS profile can carry; 0: no limit.",
        limits=(0.0, 1000.0),
    ),
    Parameter(
        "lossless",
        False,
        "For files: wait for the detections of a frame before publishing the next one, and stamp "
        "frames with the times of the file.",
    ),
    Parameter("frame_id", "camera", "Frame id in the header of the images."),
    Parameter("width", 640, "Width of the sample scene.", limits=(64, 7680), unit="px"),
    Parameter("height", 480, "Height of the sample scene.", limits=(64, 4320), unit="px"),
    Parameter(
        "wait_for_subscriber",
        False,
        "Wait with the first frame until the image has a subscriber and, for at most "
        f"{DISCOVERY_TIMEOUT:g} s more, until the ground truth has one.",
    ),
    Parameter("frames", 0, "Exit after this many frames; 0 means no limit.", limits=(0, 2**31 - 1)),
)


class ImageSourceNode(Node):
    """Publishes the frames of a source at its rate.

    A separate thread reads the source, so that a silent camera or stream does not block the
    executor.
    """

    failed = False
    callback_errors = 0

    def __init__(self) -> None:
        """Raises ParameterError if a parameter has a wrong type or value."""
        super().__init__("image_source")
        self._values = {parameter.name: self._declare(parameter) for parameter in PARAMETERS}
        self._source_name: str = self._values["source"]
        qos = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
        self._images = self.create_publisher(Image, "image_raw", qos)
        name = f"{self._images.topic_name}/compressed"
        self._compressed = self.create_publisher(CompressedImage, name, qos)
        self._truths: Publisher | None = None
        if self._source_name == sources.SAMPLE:
            # So many are kept for a recorder that falls behind; they are small.
            qos_of_truths = QoSProfile(depth=500, reliability=ReliabilityPolicy.RELIABLE)
            self._truths = self.create_publisher(Detection2DArray, "~/ground_truth", qos_of_truths)
        lossless = self._values["lossless"] and not sources.is_live(self._source_name)
        self._gate = ResultGate(self, qos) if lossless else None
        self._has_reduced = False
        self._published = 0
        self._pause = 0.0
        # Reported if the thread dies of an unexpected error.
        self._failure: SourceError | None = SourceError(
            "publishing failed; please report the lines above"
        )
        self._stopping = threading.Event()
        self._finished = self.create_guard_condition(self._on_finished)
        self._thread = threading.Thread(target=self._run, name="frames", daemon=True)

    def start(self) -> None:
        """Start publishing the frames of the source."""
        self._thread.start()

    def close(self) -> None:
        """Stop publishing the source's frames and destroy the node."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(STOP_TIMEOUT)
        if self._thread.is_alive():
            # A silent camera blocks the thread for seconds, and Python cannot end a thread: exit
            # now, before the interpreter tears down objects that the thread still uses.
            sys.stderr.flush()
            os._exit(0)
        self.destroy_node()

    def _declare(self, parameter: Parameter) -> Any:
        description = descriptor(parameter)
        description.additional_constraints = f"{parameter.allowed}; fixed at start"
        description.read_only = True
        name, default = parameter.name, parameter.default
        if name == "source" and (given := given_parameters(self).get(name)) is not None:
            # YAML makes an integer of source:=0. Other nodes can read it without its password.
            source = str(given.value)
            shown = sources.without_password(source)
            self.declare_parameter(name, shown, description, ignore_override=True)
            return source
        try:
            value = self.declare_parameter(name, default, description).value
        except ParameterException as error:
            raise ParameterError(f"{name} must be {parameter.allowed}") from error
        return parameter.check(value)

    def _run(self) -> None:
        try:
            self._play()
            self._failure = None
        except SourceError as error:
            self._failure = error
        except (RCLError, InvalidHandle):
            # A signal has shut down the context, or the node was closed, during publishing.
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
        """Publish until the source ends; reopen a live source whenever it is lost."""
        shown = sources.without_password(self._source_name)
        if self._values["wait_for_subscriber"]:
            self._wait_for_subscribers()
        while not self._stopping.is_set():
            try:
                with sources.open_source(
                    self._source_name,
                    loop=self._values["loop"],
                    width=self._values["width"],
                    height=self._values["height"],
                ) as source:
                    self._publish_all(source)
            except SourceError as error:
                if not sources.is_live(self._source_name):
                    raise
                self._pause = min(max(0.5, 2 * self._pause), MAX_PAUSE)
                self.get_logger().warning(
                    f"{error}. Retrying until it is back", throttle_duration_sec=10.0
                )
                self._stopping.wait(self._pause)
            else:
                break
        if not self._stopping.is_set():
            self._wait_until_delivered()
            self.get_logger().info(f"{shown} ended after {self._published} frames")

    def _publish_all(self, source: sources.FrameSource) -> None:
        rate = self._values["rate"] or source.rate
        if not (rate or source.live):
            rate = DEFAULT_RATE
        period = 1 / rate if rate else 0.0
        due = time.monotonic()
        began = self.get_clock().now()
        while (frame := source.read()) is not None and not self._stopping.is_set():
            if source.live:
                if self._pause or not self._published:
                    self.get_logger().info(
                        f"receiving {sources.without_password(self._source_name)}"
                    )
                    self._pause = 0.0
                # The camera's jitter must not make it skip every other frame.
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
            # After a stall continue at the normal rate, without a burst to catch up.
            due = max(due + period, time.monotonic())

    def _publish(self, frame: sources.Frame, header: Header) -> None:
        image = self._reduce(frame)
        for _ in range(ATTEMPTS):
            if self._gate is not None:
                self._gate.expect(header.stamp)
            with warn_if_unsent(self):
                if self._truths is not None and frame.truth is not None:
                    self._truths.publish(RESULTS.detections(frame.truth, header))
                self._images.publish(image_to_message(image, header))
                if self.count_subscribers(self._compressed.topic_name):
                    self._compressed.publish(image_to_compressed(image, header))
            if self._gate is None or self._gate.wait(self._stopping, frame.name):
                break
        self._published += 1

    def _reduce(self, frame: sources.Frame) -> Any:
        """The frame's image, within `max_megapixels`."""
        image = reduce_image(frame.image, self._values["max_megapixels"])
        # Reported for each photograph of a folder, and once for a video.
        if image is not frame.image and (frame.time is None or not self._has_reduced):
            self._has_reduced = True
            height, width = frame.image.shape[:2]
            self.get_logger().info(
                f"{frame.name} of {width}x{height} is sent as {image.shape[1]}x{image.shape[0]}; "
                "raise max_megapixels to send larger images"
            )
        return image

    def _wait_for_subscribers(self) -> None:
        """Wait until the subscribers of the first frame and its ground truth are matched."""
        images = (self._images, self._compressed)
        while not any(p.get_subscription_count() for p in images) and not self._stopping.wait(0.02):
            pass
        end = time.monotonic() + DISCOVERY_TIMEOUT
        while not self._has_all_subscribers() and time.monotonic() < end:
            if self._stopping.wait(0.02):
                return

    def _has_all_subscribers(self) -> bool:
        """Whether the ground truth has a subscriber, and a lossless image a reliable one."""
        if self._truths is not None and self._truths.get_subscription_count() == 0:
            return False
        images = (self._images, self._compressed)
        return self._gate is None or any(has_reliable_subscriber(self, p) for p in images)

    def _wait_until_delivered(self) -> None:
        """Wait for acknowledgements: undelivered samples are lost when the node exits."""
        limit = Duration(seconds=2.0)
        for publisher in (self._images, self._compressed, self._truths):
            if publisher is not None:
                publisher.wait_for_all_acked(limit)


def main(args: list[str] | None = None) -> int:
    """Run the node; return 0 at the source's end or on a signal, 1 on failure."""
    return run_node(ImageSourceNode, args)


if __name__ == "__main__":
    sys.exit(main())
