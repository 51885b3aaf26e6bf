# SPDX-License-Identifier: Apache-2.0
"""A whole detector on an inference server, as a session."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

import cv2
import numpy as np
from tritonclient.grpc import service_pb2

from mask_detector_ros.errors import BackendError, ImageError, ModelError, ServerError
from mask_detector_ros.inference.options import ServerOptions
from mask_detector_ros.inference.session import Array, Session, TensorInfo
from mask_detector_ros.inference.triton.connection import Connection, NotFoundError
from mask_detector_ros.inference.triton.served_model import (
    DROPPED,
    IMAGE,
    JPEG,
    ServedModel,
    config_request,
    find_model,
)
from mask_detector_ros.inference.triton.shared_memory import SharedImage

CONNECT_DEADLINES = 1.0, 5.0
"""Minimum and maximum deadline in seconds of calls while connecting; `server_deadline` applies
between them."""

CHECK_PERIOD = 1.0
"""Seconds between two checks, beside a frame, that the server still serves the same model: a load
balancer may have moved the connection to another server, or the model was replaced."""

_DTYPES = {"FP32": np.float32, "INT64": np.int64, "INT32": np.int32, "UINT8": np.uint8}

logger = logging.getLogger(__name__)


def connect(options: ServerOptions) -> TritonSession:
    """Connect to a model on an inference server as a session; see `inference.connect`."""
    return TritonSession(options)


class TritonSession(Session):
    """A model on a server that speaks the Open Inference Protocol with Triton's extensions."""

    backend = "triton"

    def __init__(self, options: ServerOptions) -> None:
        self._connection = Connection(options)
        self._options, self._deadline = options, options.deadline
        self._version = ""
        self._next_check = time.monotonic() + CHECK_PERIOD
        self._shared: SharedImage | None = None
        self._settings: dict[str, Any] = {}
        self._offered: tuple[Array, bytes] | None = None
        with ExitStack() as on_failure:
            on_failure.callback(self._connection.close)
            self._model = find_model(self._connection, options, self._connect_deadline)
            on_failure.pop_all()
        model = self._model
        self.name = f"{options.model} at {self._connection.address}"
        self._sends_jpeg = options.image_format == "jpeg" or (
            options.image_format == "auto" and not self._connection.is_loopback
        )
        if self._sends_jpeg and not model.takes_jpeg:
            self._sends_jpeg = False
            logger.warning("%s takes no JPEG: images are sent as raw pixels", self.name)
        if self._connection.is_loopback and not self._sends_jpeg:
            self._shared = SharedImage(self._connection)
        self.device = f"{self._connection.address} ({options.model})"
        self.inputs = (TensorInfo(IMAGE, np.dtype(np.uint8), (model.height, model.width, 3)),)
        self.outputs = model.outputs
        if all(tensor.name != DROPPED for tensor in self.outputs):
            self.outputs += (TensorInfo(DROPPED, np.dtype(np.float32), (1,)),)
        described = {
            "labels": model.labels,
            "roles": model.roles,
            "height": model.height,
            "width": model.width,
        }
        self.metadata = {"cascade": json.dumps(described), "sha256": model.sha256}

    @property
    def _connect_deadline(self) -> float:
        least, most = CONNECT_DEADLINES
        return min(max(self._deadline, least), most)

    @property
    def lost(self) -> bool:
        """Whether the session's connection to the inference server is lost."""
        return self._connection.lost

    def configure(self, settings: Mapping[str, Any]) -> None:
        """Send these live parameters with the session's images; a server whose settings are fixed
        ignores them."""
        self._settings = {
            name: value if isinstance(value, int) else json.dumps(value)
            for name, value in settings.items()
        }

    def offer_jpeg(self, image: Array, data: bytes) -> None:
        """Send this JPEG instead of encoding the image that was decoded from it again."""
        self._offered = (image, data) if self._sends_jpeg else None

    def _run(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        self._connection.check()
        if self._connection.lost:
            raise ServerError(
                f"no inference server answers at {self._connection.address} (the connection ended);"
                " start it, or check server_url"
            )
        image = arrays[IMAGE]
        request = self._request()
        if self._sends_jpeg:
            self._add_jpeg(request, image)
        elif self._shared is not None and self._shared.put(image, self._connect_deadline):
            tensor = self._add_input(request, IMAGE, "UINT8", image.shape)
            tensor.parameters["shared_memory_region"].string_param = self._shared.name
            tensor.parameters["shared_memory_byte_size"].int64_param = image.nbytes
        else:
            self._add_input(request, IMAGE, "UINT8", image.shape)
            request.raw_input_contents.append(image.tobytes())
        check = self._begin_check()
        try:
            reply = self._connection.call("ModelInfer", request, self._deadline)
        except NotFoundError as error:
            # Another process answers at the address, without this model or the shared memory.
            self._connection.lost = True
            raise ServerError(f"{self.name} was restarted or unloaded ({error})") from error
        if self._shared is not None:
            self._shared.remove_leftovers(self._connect_deadline)
        self._version = self._version or reply.model_version
        if reply.model_version != self._version or (check and check() != self._model.config):
            self._connection.lost = True
            raise ServerError(f"{self.name} was replaced by another model; connecting again")
        return read_answer(reply, self._model, self.name)

    def _begin_check(self) -> Callable[[], Any] | None:
        now = time.monotonic()
        if now < self._next_check:
            return None
        self._next_check = now + CHECK_PERIOD
        request = config_request(self._options.model)
        finish = self._connection.begin("ModelConfig", request, self._deadline)

        def check() -> Any:
            try:
                return finish().config
            except BackendError:
                # The frame has its answer; the next check finds the lost connection.
                return self._model.config

        return check

    def _request(self) -> Any:
        model = self._model
        request = service_pb2.ModelInferRequest(model_name=model.name, model_version=model.version)
        # A request that waited this long in the server's queue is not worth computing.
        request.parameters["timeout"].int64_param = int(self._deadline * 1e6)
        for name, value in self._settings.items():
            if isinstance(value, int):
                request.parameters[name].int64_param = value
            else:
                request.parameters[name].string_param = value
        return request

    def _add_input(self, request: Any, name: str, datatype: str, shape: tuple[int, ...]) -> Any:
        leading = (1,) if self._model.is_batched else ()
        return request.inputs.add(name=name, datatype=datatype, shape=(*leading, *shape))

    def _add_jpeg(self, request: Any, image: Array) -> None:
        offered, data = self._offered or (None, b"")
        self._add_input(request, JPEG, "BYTES", (1,))
        if offered is not image:
            data = self._encode(image)
        # Each element of a BYTES tensor begins with its length.
        request.raw_input_contents.append(len(data).to_bytes(4, "little") + data)

    def _encode(self, image: Array) -> bytes:
        try:
            data = cv2.imencode(
                ".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, self._options.jpeg_quality]
            )[1]
        except cv2.error as error:
            raise ImageError(
                f"an image of {image.shape[1]}x{image.shape[0]} cannot be sent as JPEG"
                f" ({error.err}); set server_image_format to raw"
            ) from error
        return data.tobytes()

    def close(self) -> None:
        """Close the session's connection to the server and free the shared memory."""
        if self._shared is not None:
            self._shared.close(CONNECT_DEADLINES[0])
        self._connection.close()

    def __del__(self) -> None:
        # Close a connection that its owner did not close.
        if "_connection" in self.__dict__:
            self._connection.close()


def read_answer(reply: Any, model: ServedModel, called: str) -> dict[str, Array]:
    """Read the arrays of an inference server's answer, by name.

    Raises:
        ModelError: the answer is damaged, or of another form.
    """
    out: dict[str, Array] = {DROPPED: np.zeros(1, np.float32)}
    try:
        for tensor, content in zip(reply.outputs, reply.raw_output_contents, strict=True):
            shape = tensor.shape[1:] if model.is_batched else tensor.shape
            values = np.frombuffer(content, _DTYPES[tensor.datatype])
            out[tensor.name] = values.reshape(tuple(shape)).copy()
        count = out["scores"].size
        for name, form in (
            ("scores", (count,)),
            ("boxes", (count, 4)),
            ("landmarks", (count, 5, 2)),
            ("probabilities", (count, len(model.labels))),
        ):
            out[name] = out[name].reshape(form)
        if not np.isfinite(out[DROPPED]).all():
            raise ValueError(f"{DROPPED} is not a number")
    except (ValueError, KeyError) as error:
        raise ModelError(f"{called} gives a damaged answer ({error!r})") from error
    return out
