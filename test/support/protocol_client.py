# SPDX-License-Identifier: Apache-2.0
"""A client of the Open Inference Protocol that uses none of the package's client code."""

from __future__ import annotations

from typing import Any

import numpy as np

from mask_detector_ros.serving.configuration import TOKEN_KEY


class Client:
    """Sends images to a server as any program would; `options` are those of tritonclient."""

    def __init__(self, address: str, token: str = "", **options: Any) -> None:
        from tritonclient import grpc

        self._grpc = grpc
        self.api = grpc.InferenceServerClient(address, **options)
        self.headers = {f"triton-grpc-protocol-{TOKEN_KEY}": token} if token else None

    def send(
        self,
        image: np.ndarray | None = None,
        jpeg: bytes | None = None,
        model: str = "mask_detector",
        version: str = "",
        **parameters: Any,
    ) -> dict[str, np.ndarray]:
        """The outputs by name."""
        inputs = []
        if image is not None:
            inputs.append(self._grpc.InferInput("image", image.shape, "UINT8"))
            inputs[-1].set_data_from_numpy(image)
        if jpeg is not None:
            inputs.append(self._grpc.InferInput("jpeg", [1], "BYTES"))
            inputs[-1].set_data_from_numpy(np.array([jpeg], object))
        answer = self.api.infer(
            model,
            inputs,
            model_version=version,
            headers=self.headers,
            parameters=parameters or None,
            client_timeout=20,
        )
        return {o.name: answer.as_numpy(o.name) for o in answer.get_response().outputs}

    def facts(self) -> dict[str, str]:
        """The parameters of the model's config."""
        config = self.api.get_model_config("mask_detector", headers=self.headers).config
        return {key: value.string_value for key, value in config.parameters.items()}
