# SPDX-License-Identifier: Apache-2.0
"""`mask_detector`: a lifecycle node that turns images into detections.

It owns the lifecycle, the models and the parameters. A worker thread takes the newest image of each
`Camera`; `Camera.process` does everything from message to results.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticStatus
from rcl_interfaces.msg import SetParametersResult
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from std_srvs.srv import SetBool, Trigger

from mask_detector_ros.detector import MaskDetector
from mask_detector_ros.errors import MaskDetectorError
from mask_detector_ros.heap import trim_heap
from mask_detector_ros.parameters import DETECTOR_PARAMETERS, check_parameters
from mask_detector_ros.ros.camera import Arrival, Camera
from mask_detector_ros.ros.camera_topics import assign_topics
from mask_detector_ros.ros.diagnostics import Status, StatusReporter
from mask_detector_ros.ros.library_log import forward_library_log
from mask_detector_ros.ros.node_parameters import (
    NODE_PARAMETERS,
    declare_parameters,
    parameter_values,
    plain_value,
    split_names,
)
from mask_detector_ros.ros.parameter_changes import check_changes
from mask_detector_ros.ros.publishing import warn_if_unsent
from mask_detector_ros.ros.run_node import report_exceptions, run_node
from mask_detector_ros.ros.watchdog import Watchdog
from mask_detector_ros.ros.worker import NewestItemWorker

STOP_TIMEOUT = 1.2
"""Seconds that a frame in progress has to finish when models are freed or the process ends."""

LOCK_TIMEOUT = 0.3
"""Seconds that a publish call in progress has to finish before the node is inactive."""


class MaskDetectorNode(LifecycleNode):
    """Subscribes to images and publishes faces with their mask labels."""

    def __init__(self) -> None:
        super().__init__("mask_detector")
        forward_library_log(self.get_logger())
        declare_parameters(self, NODE_PARAMETERS)
        self._detector: MaskDetector | None = None
        self._worker: NewestItemWorker[Camera, Arrival] | None = None
        self._abandoned: list[NewestItemWorker[Camera, Arrival]] = []
        self._cameras: list[Camera] = []
        self._lock = threading.Lock()
        self._active = False
        self._enabled = True
        self.failed = False
        self.callback_errors = 0
        self._values = parameter_values(self, NODE_PARAMETERS)
        self.add_on_set_parameters_callback(self._take_parameters)
        self._reporter = StatusReporter(self, self._statuses)
        self._watchdog = Watchdog(self, self._stuck_for, self._count_processed, self._recovery)
        self.create_service(Trigger, "~/reset", self._reset)
        self.create_service(SetBool, "~/enable", self._enable)

    # Lifecycle

    def start(self) -> None:
        """Configure and activate the detector node, unless a lifecycle manager does it.

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
            detector = self._detector = MaskDetector.load(
                # A signal must be able to end a build, which takes minutes.
                cancelled=lambda: not rclpy.ok(),
                **{p.name: values[p.name] for p in DETECTOR_PARAMETERS},
            )
            for topics in assign_topics(self, values):
                self._cameras.append(Camera(self, *topics, detector, self._publishing))
        except MaskDetectorError as error:
            self._free()
            if rclpy.ok():  # otherwise a signal has ended it, which is not an error
                self.get_logger().error(str(error))
            return TransitionCallbackReturn.FAILURE
        self._worker = NewestItemWorker(self._process, self._stop_after_crash)
        self.get_logger().info(
            f"models loaded in {time.monotonic() - start:.1f} s; backend {detector.backend}"
            f" on {detector.device}; labels {', '.join(detector.label_names)}"
        )
        if values["alert_after"] > 0 and (reason := self._unknown_alert_labels(values)):
            self.get_logger().warning(reason)
        return TransitionCallbackReturn.SUCCESS

    @report_exceptions
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        result = super().on_activate(state)
        self._active = True
        for camera in self._cameras:
            camera.activate()
            if self._enabled:
                camera.subscribe(self._receive, self._values)
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

    on_error = on_shutdown

    def _deactivate(self) -> None:
        self._active = False
        # Let a publish call in progress finish, unless it is stuck.
        if self._lock.acquire(timeout=LOCK_TIMEOUT):
            self._lock.release()
        for camera in self._cameras:
            camera.unsubscribe()
        if self._worker is not None:
            self._worker.clear()

    def _free(self) -> None:
        """Drop models and publishers; a frame in progress has `STOP_TIMEOUT` to finish.

        Called again after an error, it continues with the remaining parts.
        """
        self._abandoned = [worker for worker in self._abandoned if not worker.stop(0)]
        if self._worker is not None and not self._worker.stop(STOP_TIMEOUT):
            self._abandoned.append(self._worker)
            self.get_logger().warning(
                "a frame is stuck; its thread and its models are left behind until it ends"
            )
        self._worker = None
        if self._detector is not None:
            self._detector.close()
        self._detector = None
        while self._cameras:
            self._cameras[-1].destroy()
            self._cameras.pop()
        trim_heap()

    def close(self) -> None:
        """Stop all work of the detector node at once; called once, last."""
        self._active = False
        workers = [*self._abandoned, *([self._worker] if self._worker is not None else [])]
        if not all(worker.stop(STOP_TIMEOUT / len(workers)) for worker in workers):
            # The backend is inside a frame and Python cannot end its thread: exit now, before
            # the interpreter tears down objects that the thread still uses.
            sys.stderr.flush()
            os._exit(1 if self.failed else 0)
        self.destroy_node()

    def _stop_after_crash(self) -> None:
        self.failed = True
        rclpy.try_shutdown()

    # Parameters and services

    def _take_parameters(self, changes: list[Any]) -> SetParametersResult:
        """Apply allowed changes from the next frame on; reject others with a reason."""
        configured = self._detector is not None
        result = check_changes(NODE_PARAMETERS, changes, self._values, configured)
        if not result.successful:
            return result
        given = {c.name: plain_value(c) for c in changes if c.name in self._values}
        values = check_parameters(NODE_PARAMETERS, {**self._values, **given})
        if "alert_labels" in given and (reason := self._unknown_alert_labels(values)):
            return SetParametersResult(successful=False, reason=reason)
        # A frame in progress keeps its initial values.
        self._values = values
        return result

    def _unknown_alert_labels(self, values: dict[str, Any]) -> str:
        """Why `alert_labels` does not fit the loaded model; empty if it does."""
        if (detector := self._detector) is None:
            return ""
        known = dict.fromkeys((*detector.label_names, *filter(None, detector.label_roles)))
        unknown = [name for name in split_names(values["alert_labels"]) if name not in known]
        return f"alert_labels must be among {', '.join(known)}, got {unknown[0]}" if unknown else ""

    def _reset(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        for camera in self._cameras:
            camera.forget()
        response.success = bool(self._cameras)
        response.message = "tracks and counts are reset" if self._cameras else "not configured"
        return response

    def _enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        """Switch processing on or off, keeping the models; off also stops receiving images."""
        with self._lock:
            self._enabled = request.data
        if self._active:
            for camera in self._cameras:
                if request.data:
                    camera.subscribe(self._receive, self._values)
                else:
                    camera.unsubscribe("switched off; ~/enable switches on")
        if not request.data and self._worker is not None:
            self._worker.clear()
        response.success = True
        response.message = "on" if request.data else "off"
        if not self._active:
            response.message += ", once the node is active"
        return response

    # Frames

    def _receive(self, camera: Camera, arrival: Arrival) -> None:
        """Keep the newest image (executor's thread)."""
        if self._worker is not None:
            camera.statistics.image_received(self._worker.submit(camera, arrival))

    def _process(self, camera: Camera, arrival: Arrival) -> None:
        """Process an image (worker's thread); an error costs this frame, not the node."""
        try:
            camera.process(arrival, self._values)
        except Exception as error:
            camera.fail(error)

    @contextmanager
    def _publishing(self) -> Iterator[bool]:
        """Whether messages may be published; after deactivation none is."""
        with self._lock:
            if not (self._active and self._enabled):
                yield False
                return
            with warn_if_unsent(self):
                yield True

    def _statuses(self) -> list[Status]:
        """The status of each camera for diagnostics."""
        work = self._worker.work if self._worker is not None else None
        statuses = [camera.status(self._values, work) for camera in self._cameras]
        statuses = statuses or [Status("frames", DiagnosticStatus.OK, "not configured", {})]
        statuses[0].values["callback errors"] = str(self.callback_errors)
        return statuses

    # Watchdog

    def _stuck_for(self) -> float:
        work = self._worker.work if self._worker is not None else None
        return (time.monotonic() - work.since) / self._values["frame_timeout"] if work else 0.0

    def _count_processed(self) -> int:
        return sum(camera.statistics.processed for camera in self._cameras)

    def _recovery(self) -> Callable[[], None] | None:
        may_recover = self._detector is not None and self._detector.backend != "tensorrt"
        return self._reload if self._values["recover"] and may_recover else None

    def _reload(self) -> None:
        steps = (
            self.trigger_deactivate,
            self.trigger_cleanup,
            self.trigger_configure,
            self.trigger_activate,
        )
        if not all(step() == TransitionCallbackReturn.SUCCESS for step in steps):
            self.get_logger().error("the node could not recover; the reason is logged above")


def main(args: list[str] | None = None) -> int:
    """Run the node; the entry point of the executable `mask_detector`."""
    return run_node(MaskDetectorNode, args)


if __name__ == "__main__":
    sys.exit(main())
