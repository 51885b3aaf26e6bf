# SPDX-License-Identifier: Apache-2.0
"""Export a model repository for NVIDIA's container of Triton: the whole cascade as one ONNX
file."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mask_detector_ros.errors import BackendError, ModelError, ParameterError
from mask_detector_ros.inference import create_session
from mask_detector_ros.inference.options import WORKSPACE_MB
from mask_detector_ros.inference.session import Session
from mask_detector_ros.models import hash_networks
from mask_detector_ros.mtcnn.single_file_cascade import CascadeGraph
from mask_detector_ros.serving.model_repository import (
    Word,
    describe_model,
    queue_policy,
    to_map,
    write_model,
)

FILE = "cascade.onnx"

_REPOSITORY = Path(__file__).resolve().parents[2]


def export_cascade(
    folder: Path,
    values: Mapping[str, Any],
    options: Sequence[str],
    *,
    name: str,
    instances: int,
    queue_size: int,
    queue_limit: float,
) -> Path:
    """Export the single-file cascade as a model repository; return the folder of the model.

    Args:
        folder: the repository; other models in it stay.
        options: the command line of `convert_to_trt.cascade_to_onnx`, without `-o`.
        queue_size, queue_limit: requests that may wait, and for how many seconds.

    Raises:
        ParameterError: the repository has such a model, or cannot be written.
        BackendError: the converter is not there.
        ModelError: it cannot make the file.
    """
    if (folder / name).exists():
        raise ParameterError(f"{folder / name} exists; remove it, or give another --model-name")
    with tempfile.TemporaryDirectory(prefix="mask_detector_export_") as scratch:
        file = Path(scratch) / FILE
        convert(file, options)
        content = file.read_bytes()
    session = create_session(content, FILE, "onnxruntime")
    config = describe_graph(session, values, name, instances, queue_policy(queue_size, queue_limit))
    try:
        version = write_model(folder, config)
        (version / FILE).write_bytes(content)
    except OSError as error:
        raise ParameterError(f"cannot write {folder} ({error.strerror})") from error
    return version.parent


def convert(file: Path, options: Sequence[str]) -> None:
    """Convert the cascade to export to a single file, with the converter of the source tree.

    Raises:
        BackendError: there is no source tree.
        ModelError: the converter failed; the message is its own.
    """
    if not (_REPOSITORY / "convert_to_trt").is_dir():
        raise BackendError(
            "the converter is part of the source tree; run mask-detector export from a clone"
        )
    command = [sys.executable, "-m", "convert_to_trt.cascade_to_onnx", "-o", str(file), *options]
    path = os.pathsep.join([str(_REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["the converter ended without a word"]
        raise ModelError(lines[-1].removeprefix("error: "))


def describe_graph(
    session: Session,
    values: Mapping[str, Any],
    name: str,
    instances: int,
    queue: Mapping[str, Any],
) -> dict[str, Any]:
    """The config of an exported single-file cascade for Triton's ONNX Runtime with TensorRT."""
    graph = CascadeGraph(session)
    digest = hash_networks(values["detector_model"], values["classifier_model"])
    facts = describe_model(values, graph.label_names, graph.label_roles, digest)
    (image,) = session.inputs
    return {
        "name": name,
        "platform": "onnxruntime_onnx",
        "default_model_filename": FILE,
        # The graph takes one image; several instances make use of a large GPU.
        "max_batch_size": 0,
        "input": {"name": image.name, "data_type": Word("TYPE_UINT8"), "dims": image.shape},
        "output": [
            {"name": o.name, "data_type": Word("TYPE_FP32"), "dims": o.shape}
            for o in session.outputs
        ],
        "instance_group": {"count": instances, "kind": Word("KIND_GPU")},
        "dynamic_batching": {"default_queue_policy": queue},
        "optimization": {
            "execution_accelerators": {
                "gpu_execution_accelerator": {
                    "name": "tensorrt",
                    "parameters": [
                        # Networks that place faces lose accuracy in half precision.
                        {"key": "precision_mode", "value": "FP32"},
                        {"key": "max_workspace_size_bytes", "value": str(WORKSPACE_MB << 20)},
                        # Without these, every start of the server builds the engine again.
                        {"key": "trt_engine_cache_enable", "value": "true"},
                        {"key": "trt_engine_cache_path", "value": f"/tmp/{name}_engines"},
                    ],
                }
            }
        },
        # TensorRT builds its engine on the first request; no robot should wait for that.
        "model_warmup": {
            "name": "noise",
            "batch_size": 1,
            "inputs": {
                "key": image.name,
                "value": {
                    "data_type": Word("TYPE_UINT8"),
                    "dims": image.shape,
                    "random_data": True,
                },
            },
        },
        "parameters": to_map({**facts, "cascade": session.metadata["cascade"]}),
    }
