# SPDX-License-Identifier: Apache-2.0
"""One camera of the node: its subscription, its tracked people, and its results."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from typing import Any, NamedTuple

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from numpy.typing import NDArray
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from mask_detector_ros.detector import MaskDetector
from mask_detector_ros.errors import ImageError, ServerError
from mask_detector_ros.faces import Faces
from mask_detector_ros.imaging.annotate import annotate, hide_faces
from mask_detector_ros.imaging.decoding import original_jpeg
from mask_detector_ros.imaging.encodings import decode_message
from mask_detector_ros.parameters import TRACKING_PARAMETERS
from mask_detector_ros.positions import CameraModel, locate
from mask_detector_ros.ros import diagnostics
from mask_detector_ros.ros.camera_geometry import CameraGeometry
from mask_detector_ros.ros.camera_topics import results_namespace
from mask_detector_ros.ros.latency_breakdown import LatencyBreakdown, find_clock_fault
from mask_detector_ros.ros.messages import ANNOTATIONS, RESULTS, nanoseconds
from mask_detector_ros.ros.node_parameters import split_names
from mask_detector_ros.ros.result_publishers import ResultPublishers
from mask_detector_ros.ros.subscription import ImageSubscription
from mask_detector_ros.ros.worker import Work

Values = Mapping[str, Any]
"""The node's parameters by name."""


class Arrival(NamedTuple):
    """An image that the node received from a camera."""

    message: Image | CompressedImage
    breakdown: LatencyBreakdown


class Camera:
    """Subscribes to one camera's images and publishes the faces in them.

    Args:
        node: publishes and subscribes.
        name: name of the camera. Results of `NAME/image_raw` go to `NAME/mask_detector/detections`
            and so on, as from a separate node in the namespace NAME; without a name, those of
            `image_raw` go to `~/detections`.
        topic: image topic.
        depth_topic: topic of depth registered to the images; empty for none.
        detector: detects and labels faces.
        publishing: a context whose value tells whether messages may be published.
    """

    def __init__(
        self,
        node: LifecycleNode,
        name: str,
        topic: str,
        depth_topic: str,
        detector: MaskDetector,
        publishing: Callable[[], AbstractContextManager[bool]],
    ) -> None:
        self._node = node
        self.name = name
        self._topic = topic
        self._detector = detector
        self._publishing = publishing
        self._subscription: ImageSubscription | None = None
        self._idle = "not active"
        self._warned: dict[str, float] = {}
        self._forget = False
        self._activation = 0
        self.statistics = diagnostics.FrameStatistics()
        self._stream = detector.stream()
        self._results = ResultPublishers(node, results_namespace(node, name))
        with ExitStack() as on_failure:
            on_failure.callback(self._results.destroy)
            self._geometry = CameraGeometry(
                node,
                node.resolve_topic_name(self._topic),
                depth_topic,
                lambda: self._results.has_subscribers("faces_3d"),
            )
            on_failure.pop_all()

    def activate(self) -> None:
        """Activate the camera: reset its people and counts."""
        self._activation += 1
        self._stream = self._detector.stream()
        header = Header(stamp=self._node.get_clock().now().to_msg())
        labels = RESULTS.label_info(self._detector.label_names, header)
        self._results.publish("label_info", labels)

    def subscribe(self, receive: Callable[[Camera, Arrival], None], values: Values) -> None:
        """Subscribe to the camera's images and pass them to `receive` from now on."""

        def arrive(message: Image | CompressedImage) -> None:
            now = self._node.get_clock().now().nanoseconds
            stamp = nanoseconds(message.header.stamp)
            fault = find_clock_fault(stamp, now)
            receive(self, Arrival(message, LatencyBreakdown(now - stamp, fault)))

        self.unsubscribe()
        self.statistics = diagnostics.FrameStatistics()
        self._subscription = ImageSubscription(
            self._node,
            self._topic,
            arrive,
            values["image_transport"],
            values["image_reliability"],
        )

    def unsubscribe(self, why: str = "not active") -> None:
        """Unsubscribe from the camera's images; diagnostics show `why`."""
        self._idle = why
        if self._subscription is not None:
            self._subscription.destroy()
            self._subscription = None

    def destroy(self) -> None:
        """Destroy the camera's publishers; a frame in progress publishes nothing."""
        self._activation += 1
        self._geometry.destroy()
        self._results.destroy()

    def forget(self) -> None:
        """Reset the camera's people and counts from its next image on."""
        self._forget = True

    def process(self, arrival: Arrival, values: Values) -> None:
        """Process an image of the camera, from its message to the result messages.

        Called in the worker's thread. Rejected images are counted and logged as warnings.
        """
        message, breakdown = arrival
        breakdown.end("wait")
        activation = self._activation
        if self._forget:
            self._forget = False
            self._stream.reset()
        self._detector.configure(values)
        self._stream.configure(**{p.name: values[p.name] for p in TRACKING_PARAMETERS})
        try:
            image = decode_message(message, values["max_image_pixels"])
            if self._detector.server_state and (data := original_jpeg(message)) is not None:
                self._detector.offer_jpeg(image, data)
            breakdown.end("conversion")
            faces = self._stream(image, nanoseconds(message.header.stamp) / 1e9)
        except ImageError as error:
            self.statistics.frame_rejected(str(error))
            self._warn(
                "rejected",
                f"frame rejected ({self.statistics.rejected.count} so far): {error}",
            )
            return
        if (overrun := self._detector.overrun) is not None:
            self.statistics.frame_over_budget(str(overrun))
        breakdown.end("inference")
        with self._publishing() as active:
            if active and activation == self._activation:
                self._publish(image, faces, message.header, breakdown, values)
                self.statistics.frame_processed(breakdown)

    def _publish(
        self,
        image: NDArray[np.uint8],
        faces: Faces,
        header: Header,
        breakdown: LatencyBreakdown,
        values: Values,
    ) -> None:
        """Publish all results of an image; annotated images only while someone subscribes."""
        results = self._results
        results.publish("detections", RESULTS.detections(faces, header))
        breakdown.end("publish")
        results.publish("faces", RESULTS.faces(faces, header))
        people = self._stream.count_people()
        results.publish("summary", RESULTS.summary(faces, people, header, breakdown.parts))
        if values["alert_after"] > 0 and faces.track_ids is not None:
            labels = split_names(values["alert_labels"])
            for track_id, seconds in self._stream.raise_alerts(labels, values["alert_after"]):
                i = faces.track_ids.tolist().index(track_id)
                results.publish("alerts", RESULTS.alert(faces, i, seconds, header))
        size = (image.shape[1], image.shape[0])
        if results.has_subscribers("faces_3d"):
            self._publish_positions(faces, size, header)
        if results.has_subscribers("annotations"):
            results.publish("annotations", ANNOTATIONS.annotations(faces, header, size))
        if results.has_subscribers("image_annotated", "image_annotated/compressed"):
            drawing = annotate(image, faces, values["privacy"], self._stream.unseen_boxes())
            results.publish_image("image_annotated", drawing, header)
        if results.has_subscribers("image_private", "image_private/compressed"):
            boxes = np.concatenate([faces.boxes, self._stream.unseen_boxes()])
            hidden = hide_faces(image, boxes)
            results.publish_image("image_private", hidden, header)

    def _publish_positions(self, faces: Faces, size: tuple[int, int], header: Header) -> None:
        """Publish the 3D positions of the faces; this needs a calibration."""
        info, depth = self._geometry.at(nanoseconds(header.stamp))
        try:
            if info is None:
                raise ImageError(
                    "no camera_info beside the image; start a camera driver that publishes it"
                )
            model = CameraModel(info, *size, self._geometry.is_rectified)
            positions = locate(faces, model, size, depth)
        except ImageError as error:
            self._warn("positions", f"no positions on faces_3d: {error}")
            return
        self._results.publish("faces_3d", RESULTS.detections_3d(faces, positions, header))

    def _warn(self, kind: str, text: str) -> None:
        """Log a warning, each kind at most every `WARNING_PERIOD` seconds.

        rclpy's throttle counts by line of code, which all cameras share.
        """
        now = time.monotonic()
        if now - self._warned.get(kind, -diagnostics.WARNING_PERIOD) >= diagnostics.WARNING_PERIOD:
            self._warned[kind] = now
            self._node.get_logger().warning(f"{self.name}: {text}" if self.name else text)

    def fail(self, error: Exception) -> None:
        """Count a frame of the camera whose processing failed, and log the reason."""
        reason = diagnostics.describe_failure(error)
        self.statistics.frame_failed(reason)
        text = f"({self.statistics.failed.count} so far): {reason}"
        if isinstance(error, ServerError):
            self._warn("server", f"frame dropped {text}")
            return
        logger = self._node.get_logger()
        logger.error(f"frame failed {text}", throttle_duration_sec=diagnostics.WARNING_PERIOD)
        logger.debug("".join(traceback.format_exception(error)))

    def status(self, values: Values, work: Work | None) -> diagnostics.Status:
        """This camera's diagnostic status; missing images are also logged."""
        part = f"{self.name}: frames" if self.name else "frames"
        if self._subscription is None:
            return diagnostics.Status(part, DiagnosticStatus.OK, self._idle, {})
        timeout = values["image_timeout"]
        limit = values["frame_timeout"]
        stuck = ""
        if work is not None and work.sender is self:
            seconds = time.monotonic() - work.since
            if seconds > limit:
                stuck = f"stuck in {work.item.breakdown.in_progress} for {seconds:.0f} s"
        level, text, numbers = self.statistics.status(timeout, limit, stuck)
        numbers |= diagnostics.describe_backend(self._detector)
        server = self._detector.server_state
        if level == DiagnosticStatus.OK and server.startswith("not serving"):
            level, text = DiagnosticStatus.WARN, f"running without the server, which is {server}"
        topic = self._subscription.topic
        if not stuck and self.statistics.silence() > timeout:
            text = f"{text} on {topic}; {self._subscription.describe_publishers()}"
            self._warn("silence", text)
        return diagnostics.Status(part, level, text, numbers, hardware=topic)
