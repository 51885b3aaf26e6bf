# SPDX-License-Identifier: Apache-2.0
"""MaskDetector: from an image to labelled faces."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from mask_detector_ros.dispatch import Dispatch
from mask_detector_ros.face_stream import FaceStream
from mask_detector_ros.faces import Faces
from mask_detector_ros.heap import HeapTrimmer
from mask_detector_ros.imaging.bgr_input import ImageInput, as_bgr
from mask_detector_ros.imaging.boxes import FloatArray
from mask_detector_ros.mtcnn.candidate_budget import Overrun
from mask_detector_ros.mtcnn.detection_settings import DetectionSettings
from mask_detector_ros.parameters import DETECTOR_PARAMETERS, check_parameters


class MaskDetector:
    """Finds the faces of an image and classifies their masks.

        detector = MaskDetector.load(min_face_size=40)
        faces = detector(cv2.imread("people.jpg"))
        print(faces.labels, faces.boxes)

    One thread at a time may call it. With the backend `auto` on a machine with a GPU it runs on the
    CPU while the GPU gets ready (TensorRT builds engines), and switches to the GPU between two
    images. With `auto` and a `server_url`, the server serves while it answers in time, and this
    machine otherwise.

    Attributes:
        label_names: the names of the labels.
        label_roles: the role of each label, see `Faces.label_roles`.
        max_image_pixels: larger images are rejected.
    """

    def __init__(self, dispatch: Dispatch, values: Mapping[str, Any]) -> None:
        self._values: dict[str, Any] = {}
        self._dispatch = dispatch
        self._heap = HeapTrimmer()
        labeller = dispatch.networks.labeller
        self.label_names, self.label_roles = labeller.label_names, labeller.label_roles
        self.configure(values)

    @classmethod
    def load(
        cls, *, cancelled: Callable[[], bool] = lambda: False, **parameters: Any
    ) -> MaskDetector:
        """Load the models and make a MaskDetector.

        Args:
            cancelled: polled while engines are built, and while a frame waits for a server
                (`server_patience`); both stop when it returns True.
            parameters: any of `mask_detector_ros.parameters.DETECTOR_PARAMETERS`, such as
                `backend`, `detector_model`, `min_face_size` or `server_url`.

        Raises:
            ParameterError: an unknown parameter or a value out of its range.
            ModelError: a model is missing, damaged, or not of the expected form.
            BackendError: the backend does not work on this machine, or the server does not answer.
        """
        values = check_parameters(DETECTOR_PARAMETERS, parameters)
        return cls(Dispatch.load(values, cancelled), values)

    def configure(self, values: Mapping[str, Any]) -> None:
        """Apply validated live parameters from the detector's next image on."""
        self._values = {**self._values, **values}
        self._settings = DetectionSettings.of(values)
        self.max_image_pixels = values["max_image_pixels"]

    def __enter__(self) -> MaskDetector:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        """Support pickling, for example for process pools: the copy loads the same models again."""
        names = {parameter.name for parameter in DETECTOR_PARAMETERS}
        parameters = {n: v for n, v in self._values.items() if n in names}
        return partial(MaskDetector.load, **parameters), ()

    @property
    def backend(self) -> str:
        """The library that ran the networks for the detector's last image."""
        return self._dispatch.networks.session.backend

    @property
    def device(self) -> str:
        """The device, or the server, that ran the networks for the detector's last image."""
        return self._dispatch.networks.session.device

    @property
    def backend_reason(self) -> str:
        """Why the detector chose this library and device."""
        return self._dispatch.reason

    @property
    def engine_state(self) -> str:
        """State of loading the GPU networks: `building ...`, `ready` or `failed: ...`; empty
        without a GPU."""
        return self._dispatch.engine_state

    @property
    def server_state(self) -> str:
        """State of the server: `connecting`, `serving` or `not serving: ...`; empty without one."""
        return self._dispatch.server_state

    @property
    def overrun(self) -> Overrun | None:
        """Candidates of the last image beyond `max_candidates`; None if it had no more."""
        return self._dispatch.networks.cascade.overrun

    def wait_for_engines(self, timeout: float | None = None) -> None:
        """Wait until `auto` can switch to a GPU or has failed; the next image makes the switch."""
        self._dispatch.wait_for_engines(timeout)

    def wait_for_server(self, timeout: float | None = None) -> bool:
        """Wait until the server can serve the next image; returns whether it can."""
        return self._dispatch.wait_for_server(timeout)

    def offer_jpeg(self, image: NDArray[np.uint8], data: bytes) -> None:
        """Offer the JPEG that the next image was decoded from: a server that takes JPEG gets it
        as it is."""
        self._dispatch.offer_jpeg(image, data)

    def close(self) -> None:
        """Close the detector: stop loading networks on a GPU, and close the connection to a
        server."""
        self._dispatch.close()

    @overload
    def __call__(
        self, image: ImageInput, near: FloatArray | None = None, *, rgb: bool = False
    ) -> Faces: ...

    @overload
    def __call__(
        self, image: list[ImageInput] | tuple[ImageInput, ...], *, rgb: bool = False
    ) -> list[Faces]: ...

    def __call__(
        self, image: Any, near: FloatArray | None = None, *, rgb: bool = False
    ) -> Faces | list[Faces]:
        """Find and label the faces of an image, best face score first.

        Args:
            image: (H, W, 3) uint8 in BGR order, as OpenCV reads it; the path of a file; a PIL
                image; or a list of these, for a list of results.
            near: (N, 4) boxes: search only near them, for faces of about their size, which is
                faster. Single-file cascades and servers always run full-frame detection.
            rgb: whether arrays are in RGB order.

        Raises:
            ImageError: the image is of another kind, or has more than `max_image_pixels`; the
                message says how to convert it.
            SourceError: a file cannot be read.
        """
        if isinstance(image, list | tuple):
            # One by one: on a CPU, eight frames of 640x480 in one batch took 1.34 to 1.72 times as
            # long in the first network.
            return [self._see(each, None, rgb) for each in image]
        return self._see(image, near, rgb)

    def _see(self, image: Any, near: FloatArray | None, rgb: bool) -> Faces:
        image = as_bgr(image, rgb, self.max_image_pixels)
        self._heap.before_image(image.shape[0] * image.shape[1])
        return self._dispatch.find(image, self._settings, near)

    def stream(
        self, *, tracking: bool = True, smoothing: float = 1.0, search_every: int = 1
    ) -> FaceStream:
        """Create a stream for the frames of one camera, in which people keep their ids.

        Args:
            tracking: whether to track people from frame to frame.
            smoothing: seconds over which labels are smoothed.
            search_every: run full-frame detection on every Nth frame only.
        """
        return FaceStream(self, tracking, smoothing, search_every)
