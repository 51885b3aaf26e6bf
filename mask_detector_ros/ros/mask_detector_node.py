"""`mask_detector`: a lifecycle node from images to detections.

It converts, hands the newest image to a worker thread, and publishes; what it sees is
decided by `MaskDetector`.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticStatus
from rcl_interfaces.msg import SetParametersResult
from rclpy.impl.implementation_singleton import rclpy_implementation as _rclpy
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray, LabelInfo

from mask_detector_ros.annotate import annotate
from mask_detector_ros.detector import MaskDetector
from mask_detector_ros.errors import ImageError, MaskDetectorError
from mask_detector_ros.faces import Faces
from mask_detector_ros.msg import FaceArray, MaskSummary
from mask_detector_ros.parameters import DETECTOR_PARAMETERS, check_parameters
from mask_detector_ros.ros.conversions import (
    image_from_compressed,
    image_from_message,
    image_to_compressed,
    image_to_message,
)
from mask_detector_ros.ros.detections import (
    faces_to_detections,
    faces_to_face_array,
    faces_to_summary,
    label_info,
    nanoseconds,
)
from mask_detector_ros.ros.diagnostics import FrameStatistics, StatusReporter
from mask_detector_ros.ros.library_log import forward_library_log
from mask_detector_ros.ros.parameters import (
    NODE_PARAMETERS,
    check_changes,
    declare_parameters,
    parameter_values,
    plain_value,
)
from mask_detector_ros.ros.process import report_exceptions, run_node
from mask_detector_ros.ros.subscription import ImageSubscription
from mask_detector_ros.ros.worker import NewestItemWorker

WARNING_PERIOD = 5.0
STOP_TIMEOUT = 1.5
"""Seconds: between two warnings of a kind; that a frame gets to end when the process ends."""

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class MaskDetectorNode(LifecycleNode):
    """Subscribes to images, publishes who wears a mask."""

    def __init__(self) -> None:
        super().__init__("mask_detector")
        forward_library_log(self.get_logger())
        declare_parameters(self, NODE_PARAMETERS)
        self._detector: MaskDetector | None = None
        self._worker: NewestItemWorker[Any] | None = None
        self._subscription: ImageSubscription | None = None
        # Held while publishing: once deactivated, not one more message goes out.
        self._publishing = threading.Lock()
        self._active = False
        self.failed = False
        self._values = parameter_values(self, NODE_PARAMETERS)
        self._statistics = FrameStatistics()
        self.add_on_set_parameters_callback(self._take_parameters)
        self._reporter = StatusReporter(self, self._status)

    # Lifecycle

    def start(self) -> None:
        """Configure and activate, unless a manager is to do it.

        Raises:
            MaskDetectorError: the node could not be configured; its log says why.
        """
        if not self._values["autostart"]:
            return
        steps = (self.trigger_configure, self.trigger_activate)
        started = all(step() == TransitionCallbackReturn.SUCCESS for step in steps)
        if not started and rclpy.ok():
            raise MaskDetectorError("mask_detector could not start; the reason is logged above")

    @report_exceptions
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        values = self._values
        start = time.monotonic()
        try:
            self._detector = MaskDetector.load(
                # A signal must be able to end a build, which takes minutes.
                cancelled=lambda: not rclpy.ok(),
                **{p.name: values[p.name] for p in DETECTOR_PARAMETERS},
            )
        except MaskDetectorError as error:
            self.get_logger().error(str(error))
            return TransitionCallbackReturn.FAILURE
        make = self.create_lifecycle_publisher
        self._outputs: dict[str, Any] = {
            "detections": make(Detection2DArray, "~/detections", 10),
            "faces": make(FaceArray, "~/faces", 10),
            "summary": make(MaskSummary, "~/summary", 10),
            "image": make(Image, "~/image_annotated", 2),
            "compressed": make(CompressedImage, "~/image_annotated/compressed", 2),
            "labels": make(LabelInfo, "~/label_info", LATCHED),
        }
        self._worker = NewestItemWorker(self._process, self._stop_after_crash)
        self.get_logger().info(
            f"models loaded in {time.monotonic() - start:.1f} s; backend {self._detector.backend}"
            f" on {self._detector.device}; labels {', '.join(self._detector.label_names)}"
        )
        return TransitionCallbackReturn.SUCCESS

    @report_exceptions
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        assert self._detector is not None
        result = super().on_activate(state)
        self._statistics = FrameStatistics()
        self._active = True
        header = Header(stamp=self.get_clock().now().to_msg())
        self._outputs["labels"].publish(label_info(self._detector.label_names, header))
        raw = self._values["image_transport"] == "raw"
        # image_transport's rule: the remapped name of the image, then the transport's.
        topic = self.resolve_topic_name("image_raw") + ("" if raw else "/compressed")
        self._subscription = ImageSubscription(
            self, Image if raw else CompressedImage, topic, self._receive
        )
        return result

    @report_exceptions
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._deactivate()
        return super().on_deactivate(state)

    @report_exceptions
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._free()
        return TransitionCallbackReturn.SUCCESS

    @report_exceptions
    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._deactivate()
        self._free()
        return TransitionCallbackReturn.SUCCESS

    @report_exceptions
    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._deactivate()
        self._free()
        return TransitionCallbackReturn.SUCCESS

    def _deactivate(self) -> None:
        with self._publishing:
            self._active = False
        if self._subscription is not None:
            self._subscription.destroy()
            self._subscription = None
        if self._worker is not None:
            self._worker.clear()

    def _free(self) -> None:
        """Drop models and publishers; a frame in work is waited for."""
        if self._worker is None:
            return
        self._worker.stop(timeout=None)
        if self._detector is not None:
            self._detector.close()
        self._worker = self._detector = None
        for publisher in self._outputs.values():
            self.destroy_lifecycle_publisher(publisher)
        self._outputs = {}

    def close(self) -> None:
        """End the process's work at once; called once, last."""
        with self._publishing:
            self._active = False
        if self._worker is not None and not self._worker.stop(STOP_TIMEOUT):
            # The backend is deep in a frame and Python cannot end its thread: leave now,
            # before the interpreter tears down what the thread still uses.
            sys.stderr.flush()
            os._exit(1 if self.failed else 0)
        self.destroy_node()

    def _stop_after_crash(self) -> None:
        self.failed = True
        rclpy.try_shutdown()

    # Parameters

    def _take_parameters(self, changes: list[Any]) -> SetParametersResult:
        """Take over allowed changes from the next frame on; refuse the others with a reason."""
        configured = self._detector is not None
        result = check_changes(NODE_PARAMETERS, changes, configured)
        if result.successful:
            given = {c.name: plain_value(c) for c in changes if c.name in self._values}
            self._values = check_parameters(NODE_PARAMETERS, {**self._values, **given})
            if self._detector is not None:
                self._detector.configure(self._values)
        return result

    # Frames

    def _receive(self, message: Image | CompressedImage) -> None:
        """In the executor's thread: keep the newest."""
        if self._worker is not None:
            self._statistics.image_received(self._worker.submit(message))

    def _process(self, message: Image | CompressedImage) -> None:
        """In the worker's thread: one image from message to messages."""
        detector = self._detector
        assert detector is not None
        raw = isinstance(message, Image)
        start = time.monotonic()
        try:
            image = image_from_message(message) if raw else image_from_compressed(message)
            faces = detector(image)
        except ImageError as error:
            self._statistics.frame_refused(str(error))
            self.get_logger().warning(
                f"frame refused ({self._statistics.bad} so far): {error}",
                throttle_duration_sec=WARNING_PERIOD,
            )
            return
        with self._publishing:
            if self._active:
                self._publish(image, faces, message.header, time.monotonic() - start)

    def _publish(self, image: Any, faces: Faces, header: Header, inference: float) -> None:
        try:
            publishers = self._outputs
            publishers["detections"].publish(faces_to_detections(faces, header))
            latency = self.get_clock().now().nanoseconds - nanoseconds(header.stamp)
            publishers["faces"].publish(faces_to_face_array(faces, header))
            publishers["summary"].publish(
                faces_to_summary(faces, header, latency, round(1e9 * inference))
            )
            wants_image = publishers["image"].get_subscription_count() > 0
            wants_compressed = publishers["compressed"].get_subscription_count() > 0
            if wants_image or wants_compressed:
                drawing = annotate(image, faces)
                if wants_image:
                    publishers["image"].publish(image_to_message(drawing, header))
                if wants_compressed:
                    publishers["compressed"].publish(image_to_compressed(drawing, header))
        except _rclpy.RCLError:
            # A signal shut the context down in the middle of this frame.
            if rclpy.ok():
                raise
            return
        self._statistics.frame_processed(latency / 1e9, inference)

    def _status(self) -> tuple[bytes, str, dict[str, str]]:
        """What diagnostics say of the frames."""
        if not self._active or self._subscription is None or self._detector is None:
            return DiagnosticStatus.OK, "not active", {}
        timeout = self._values["image_timeout"]
        level, text, values = self._statistics.status(timeout)
        values |= {"backend": self._detector.backend, "device": self._detector.device}
        values |= {"engine": self._detector.engine_state or "none used"}
        if self._statistics.silence() > timeout:
            publishers = self._subscription.describe_publishers()
            text = f"{text} on {self._subscription.topic}; {publishers}"
            self.get_logger().warning(text, throttle_duration_sec=WARNING_PERIOD)
        return level, text, values


def main(args: list[str] | None = None) -> int:
    """Run the node; the entry point of the executable `mask_detector`."""
    return run_node(MaskDetectorNode, args)


if __name__ == "__main__":
    sys.exit(main())
