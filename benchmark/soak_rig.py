# SPDX-License-Identifier: Apache-2.0
"""The rig of the soak test: a detector node in a process, and a client that feeds and watches
it."""

import contextlib
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.srv import SetParametersAtomically
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray

from benchmark.adversarial_images import KINDS, adversarial
from benchmark.processes import Lost, ProcessStatus, happens, wait_for
from benchmark.ros_client import RosClient
from mask_detector_ros.ros.conversions import image_to_message

PARAMETERS = {"min_face_size": 40, "threads": 1, "image_timeout": 1.0}
DEACTIVATE, ACTIVATE = Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_ACTIVATE
CLEANUP, CONFIGURE = Transition.TRANSITION_CLEANUP, Transition.TRANSITION_CONFIGURE

SIZES = ((1, 1), (48, 64), (240, 320), (480, 640), (720, 1280), (1080, 1920), (3, 2000), (2000, 3))


class Rig(RosClient):
    """A detector node under the soak test, fed and watched.

    Args:
        folder: folder for the nodes' output and logs.
        backend: backend of the detector.
    """

    def __init__(self, folder: Path, backend: str = "auto") -> None:
        super().__init__(folder, "soak")
        self.frames = 0
        self._answered: set[str] = set()
        self._images = 0
        self._chance = random.Random(0)
        self.status = ""
        self.node.create_subscription(
            Detection2DArray, "/mask_detector/detections", self._on_detections, 100
        )
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self.detector = self.start("mask_detector_node", backend=backend, **PARAMETERS)
        self.process = ProcessStatus(self.detector.pid)
        self.camera = self.node.create_publisher(Image, "/image_raw", 1)
        self.recover()

    def image(self, height: int = 48, width: int = 64, encoding: str = "bgr8") -> Image:
        """A black image for the soak test, stamped 0.1 s after the last, with a unique frame id."""
        pixels = np.zeros((height, width, 3), np.uint8)
        return image_to_message(pixels, self._header(), encoding)

    def recover(
        self, publisher: Any = None, make: Callable[[], Image] | None = None, pause: float = 0.005
    ) -> float:
        """Publish images until a new one has its result; return the seconds that the recovery took.

        Args:
            publisher: publisher to use; by default the rig's.
            make: returns the next image; by default `image`.
            pause: seconds to wait for a result before the next image.

        Raises:
            Lost: none had in time, or the node has ended.
        """
        start, publisher, make = time.monotonic(), publisher or self.camera, make or self.image
        sent: set[str] = set()

        def seen() -> bool:
            if self.detector.poll() is not None:
                raise Lost(f"the node ended with exit code {self.detector.returncode}")
            message = make()
            sent.add(message.header.frame_id)
            publisher.publish(message)
            return happens(lambda: not sent.isdisjoint(self._answered), pause)

        wait_for(seen, "the result of a fresh image")
        self._answered.clear()
        return time.monotonic() - start

    def recover_for(self, seconds: float) -> None:
        """Let the node recover: publish small images one after the other, and wait for the results.

        Raises:
            Lost: as `recover`.
        """
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.recover()

    def stream(self, seconds: float) -> None:
        """Publish images of changing content and size to the soak test's node, each after the
        result of the last.

        Raises:
            Lost: one had none, or the node has ended.
        """
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            kind, (height, width) = self._chance.choice(KINDS), self._chance.choice(SIZES)
            image = adversarial(kind, height, width, self._chance.randrange(3, 20))
            self.recover(make=lambda image=image: image_to_message(image, self._header()), pause=1)

    def call(self, kind: type, service: str, request: Any) -> Any:
        """Call a service of the soak test's node; return its response."""
        client = self.safely(self.node.create_client, kind, service)
        try:
            wait_for(client.service_is_ready, service)
            future = client.call_async(request)
            wait_for(future.done, f"a response of {service}")
            return future.result()
        finally:
            self.safely(self.node.destroy_client, client)

    def set_parameter(self, name: str, value: Any) -> Any:
        """Set a parameter of the detector; return the result, which may be a rejection."""
        parameters = [Parameter(name, value=value).to_parameter_msg()]
        request = SetParametersAtomically.Request(parameters=parameters)
        service = "/mask_detector/set_parameters_atomically"
        return self.call(SetParametersAtomically, service, request).result

    def change_state(self, *transitions: int) -> None:
        """Take the soak test's node through lifecycle transitions."""
        for number in transitions:
            request = ChangeState.Request(transition=Transition(id=number))
            if not self.call(ChangeState, "/mask_detector/change_state", request).success:
                raise Lost(f"transition {number} failed")

    @contextlib.contextmanager
    def silent_camera(self) -> Iterator[None]:
        """Context in which the rig's own camera does not exist."""
        self.safely(self.node.destroy_publisher, self.camera)
        try:
            yield
        finally:
            self.camera = self.safely(self.node.create_publisher, Image, "/image_raw", 1)

    def memory(self) -> float:
        """Resident megabytes of the soak test's detector process.

        Without the segments that DDS shares with its peers, 64 MB each, which come and go.
        """
        kinds = self.process.memory()
        return kinds["VmRSS"] - kinds["RssShmem"]

    def _header(self) -> Header:
        self._images += 1
        header = Header(frame_id=f"camera {self._images}")
        header.stamp.sec, tenths = divmod(self._images, 10)
        header.stamp.nanosec = 10**8 * tenths
        return header

    def _on_detections(self, message: Detection2DArray) -> None:
        self.frames += 1
        self._answered.add(message.header.frame_id)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == "mask_detector: frames":
                self.status = status.message
