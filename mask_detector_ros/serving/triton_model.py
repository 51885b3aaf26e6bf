# SPDX-License-Identifier: Apache-2.0
"""The model that Triton's Python backend runs in each instance: one detector, one request at a
time.

Triton imports this through the `model.py` that `write_repository` makes.
"""

import json
from typing import Any

import numpy as np
import triton_python_backend_utils as backend
from numpy.typing import NDArray

from mask_detector_ros.detector import MaskDetector
from mask_detector_ros.errors import ImageError, MaskDetectorError, ParameterError
from mask_detector_ros.faces import Faces
from mask_detector_ros.imaging.decoding import decode
from mask_detector_ros.parameters import LOCAL_PARAMETERS

REQUEST_PARAMETERS = {
    p.name: p for p in LOCAL_PARAMETERS if p.live and p.name != "max_image_pixels"
}
"""Parameters that a request may set for itself. The limit that protects the server is not one."""


class TritonPythonModel:
    """One instance of the model in Triton; it calls `initialize` once and `execute` for each
    request."""

    def initialize(self, args: dict[str, str]) -> None:
        """Triton's call at the start of an instance: load the detector with the values in the
        config."""
        parameters = json.loads(args["model_config"])["parameters"]
        self._values = json.loads(parameters["detector_values"]["string_value"])
        self._detector = MaskDetector.load(**self._values)
        # Triton reports readiness after this.
        self._detector.wait_for_engines()

    def execute(self, requests: list[Any]) -> list[Any]:
        """Triton's call with requests: answer each with faces, or with an error that describes the
        fault."""
        return [self._answer(request) for request in requests]

    def finalize(self) -> None:
        """Triton's call at the end of an instance: stop loading networks."""
        self._detector.close()

    def _answer(self, request: Any) -> Any:
        try:
            own = read_parameters(request.parameters())
            started_with = {p.name: self._values.get(p.name, p.default) for p in LOCAL_PARAMETERS}
            self._detector.configure({**started_with, **own})
            image = read_image(request, self._detector.max_image_pixels)
            faces = self._detector(image)
        except (ImageError, ParameterError) as error:
            return _reject(error, backend.TritonError.INVALID_ARG)
        except MaskDetectorError as error:
            return _reject(error, backend.TritonError.INTERNAL)
        overrun = self._detector.overrun
        return backend.InferenceResponse(
            to_tensors(faces, 0 if overrun is None else overrun.found - overrun.kept)
        )


def read_parameters(text: str) -> dict[str, Any]:
    """Read the detector parameters among those of a request to Triton's model.

    Args:
        text: the parameters as one JSON object, as Triton gives them; a value may itself be JSON
            in a string, since the protocol has neither lists nor, in older clients, fractions.

    Raises:
        ParameterError: a value is of the wrong type or out of its range.
    """
    given = json.loads(text or "{}")
    return {
        name: REQUEST_PARAMETERS[name].check(_plain(value))
        for name, value in given.items()
        if name in REQUEST_PARAMETERS
    }


def _plain(value: Any) -> Any:
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value


def read_image(request: Any, max_pixels: int) -> NDArray[np.uint8]:
    """Read the (H, W, 3) BGR image of a request to Triton's model: its `image`, or its `jpeg`
    decoded.

    Raises:
        ImageError: it has none or both, or the image is damaged or too large.
    """
    raw, files = (backend.get_input_tensor_by_name(request, n) for n in ("image", "jpeg"))
    if (raw is None) == (files is None):
        raise ImageError("a request takes exactly one of the inputs image and jpeg")
    if raw is None:
        return decode(bytes(files.as_numpy()[0]), max_pixels)
    image: NDArray[np.uint8] = raw.as_numpy()
    return image


def to_tensors(faces: Faces, dropped: int) -> list[Any]:
    """Convert faces to the output tensors of Triton's model, `model_repository.OUTPUTS`."""
    arrays = {
        "boxes": faces.boxes,
        "scores": faces.scores,
        "landmarks": faces.landmarks,
        "probabilities": faces.probabilities,
        "dropped": np.array([dropped], np.float32),
    }
    return [backend.Tensor(n, np.ascontiguousarray(a, np.float32)) for n, a in arrays.items()]


def _reject(error: Exception, code: Any) -> Any:
    message = backend.TritonError(" ".join(str(error).split()), code)
    return backend.InferenceResponse(output_tensors=[], error=message)
