# SPDX-License-Identifier: Apache-2.0
"""Options of the inference backends: how to build GPU engines, how to reach a server."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

WORKSPACE_MB = 512
"""Scratch memory for an engine build, in MB. More does not make these small networks faster, and a
Jetson shares its memory with everything else."""


@dataclass(frozen=True)
class EngineOptions:
    """How a backend builds and stores engines; other backends ignore it.

    Attributes:
        precision: `auto` (fp16, or fp32 if fp16 results differ), `fp32` or `fp16`; networks that
            place faces always use fp32.
        engine_cache_dir: folder of the engines; empty for the user's cache folder.
        device: index of the GPU.
        workspace_mb: scratch memory for a build.
        progress: called with progress messages.
        cancelled: polled several times a second; a build stops when it returns True.
    """

    precision: str = "auto"
    engine_cache_dir: str = ""
    device: int = 0
    workspace_mb: int = WORKSPACE_MB
    progress: Callable[[str], None] = lambda text: None
    cancelled: Callable[[], bool] = lambda: False

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> EngineOptions:
        """Create the engine options of the GPU backends from the parameters of the same names."""
        return cls(values["precision"], values["engine_cache_dir"], values["device"])


@dataclass(frozen=True)
class ServerOptions:
    """How to reach a model on an inference server, as the parameters `server_...`, and which one to
    expect there.

    Attributes:
        deadline: seconds for each call.
        sha256: expected hash of the weights; empty accepts any.
        labels, roles: expected labels and their roles; None accepts any.
    """

    url: str
    model: str
    deadline: float
    image_format: str = "auto"
    jpeg_quality: int = 90
    ca: str = ""
    token_file: str = ""
    certificate: str = ""
    key: str = ""
    sha256: str = ""
    labels: tuple[str, ...] | None = None
    roles: tuple[str, ...] | None = None

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> ServerOptions:
        """Create the options of a server backend from the parameters `server_...`, which expect no
        particular model yet."""
        names = "url model deadline image_format jpeg_quality ca token_file certificate key"
        return cls(**{name: values[f"server_{name}"] for name in names.split()})
