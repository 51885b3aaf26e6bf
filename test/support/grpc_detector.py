# SPDX-License-Identifier: Apache-2.0
"""A small gRPC server of the Open Inference Protocol, for behaviour that the real one cannot show.

It serves a `MaskDetector`, and each test changes what it says of itself or answers.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import grpc
import numpy as np
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc

from mask_detector_ros.detector import MaskDetector
from mask_detector_ros.models import hash_networks
from mask_detector_ros.parameters import DETECTOR_PARAMETERS, check_parameters

Arrays = dict[str, Any]

FORMS = {"boxes": (-1, 4), "scores": (-1,), "landmarks": (-1, 5, 2), "probabilities": (-1, -1)}


def read_settings(request: Any) -> dict[str, Any]:
    """Read the detector's parameters among those of a request."""
    return {
        name: json.loads(value.string_param) if value.string_param else value.int64_param
        for name, value in request.parameters.items()
        if name != "timeout"
    }


class GrpcDetector(service_pb2_grpc.GRPCInferenceServiceServicer):
    """A small server of a `MaskDetector` on its own port.

    Attributes:
        parameters: what the model's config says.
        inputs: data type and dimensions of each input, by name.
        outputs: dimensions of each output, by name.
        batched: whether every tensor has a leading dimension.
        version: of the model that answers.
        change: changes the arrays of an answer.
        requests: the inference requests so far.
    """

    def __init__(self, detector: MaskDetector) -> None:
        self._detector = detector
        self.parameters = {
            "labels": json.dumps(detector.label_names),
            "roles": json.dumps(detector.label_roles),
            "model_sha256": hash_networks("mtcnn_two_stage", "auto"),
        }
        self.inputs = {"image": ("TYPE_UINT8", (-1, -1, 3)), "jpeg": ("TYPE_STRING", (1,))}
        self.outputs: dict[str, tuple[int, ...]] = dict(FORMS)
        self.batched = False
        self.version = "1"
        self.change: Callable[[Arrays], Arrays] = lambda arrays: arrays
        self.requests: list[Any] = []
        self._server = grpc.server(ThreadPoolExecutor(2))
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    @property
    def url(self) -> str:
        return f"grpc://127.0.0.1:{self.port}"

    def close(self) -> None:
        self._server.stop(None).wait()

    def ModelConfig(self, request: Any, context: Any) -> Any:  # noqa: N802
        config = model_config_pb2.ModelConfig(name=request.name, max_batch_size=int(self.batched))
        for name, (data_type, dims) in self.inputs.items():
            config.input.add(name=name, data_type=data_type, dims=dims)
        for name, dims in self.outputs.items():
            config.output.add(name=name, data_type="TYPE_FP32", dims=dims)
        for key, value in self.parameters.items():
            config.parameters[key].string_value = value
        return service_pb2.ModelConfigResponse(config=config)

    def SystemSharedMemoryRegister(self, request: Any, context: Any) -> Any:  # noqa: N802
        # Like a server in a container with a /dev/shm of its own.
        context.abort(grpc.StatusCode.INTERNAL, f"Unable to open shared memory: '{request.key}'")

    def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.requests.append(request)
        ((tensor,), (content,)) = request.inputs, request.raw_input_contents
        if tensor.name == "jpeg":
            image = cv2.imdecode(np.frombuffer(content[4:], np.uint8), cv2.IMREAD_COLOR)
        else:
            image = np.frombuffer(content, np.uint8).reshape(tensor.shape[self.batched :])
        self._detector.configure(check_parameters(DETECTOR_PARAMETERS, read_settings(request)))
        faces = self._detector(image)
        arrays = self.change({name: getattr(faces, name) for name in FORMS})
        reply = service_pb2.ModelInferResponse(model_version=self.version)
        for name, values in arrays.items():
            shape = (1, *values.shape) if self.batched else values.shape
            reply.outputs.add(name=name, datatype="FP32", shape=shape)
            reply.raw_output_contents.append(values.astype(np.float32).tobytes())
        return reply
