# SPDX-License-Identifier: Apache-2.0
"""Write model repositories of Triton: a `config.pbtxt` and a folder for each version."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mask_detector_ros import __version__
from mask_detector_ros.serving.configuration import ServingOptions
from mask_detector_ros.shared_files import PACKAGE

VERSION = "1"


class Word(str):
    """A value in a model's config that protobuf's text format writes without quotes, such as
    TYPE_FP32."""


INPUTS = (
    {"name": "image", "data_type": Word("TYPE_UINT8"), "dims": [-1, -1, 3], "optional": True},
    {"name": "jpeg", "data_type": Word("TYPE_STRING"), "dims": [1], "optional": True},
)
"""A request has one of them: an image (H, W, 3) in BGR order, or a whole JPEG file."""

OUTPUTS = (
    {"name": "boxes", "data_type": Word("TYPE_FP32"), "dims": [-1, 4]},
    {"name": "scores", "data_type": Word("TYPE_FP32"), "dims": [-1]},
    {"name": "landmarks", "data_type": Word("TYPE_FP32"), "dims": [-1, 5, 2]},
    {"name": "probabilities", "data_type": Word("TYPE_FP32"), "dims": [-1, -1]},
    {"name": "dropped", "data_type": Word("TYPE_FP32"), "dims": [-1]},
)
"""Boxes (N, 4) and landmarks (N, 5, 2) in pixels, scores (N,), probabilities (N, K) and how many
candidates found no place, as a single-file cascade gives them."""


def describe_model(
    values: Mapping[str, Any], labels: Sequence[str], roles: Sequence[str], digest: str
) -> dict[str, str]:
    """The facts that a client checks about a server, for the `parameters` of the model's config.

    Args:
        digest: `models.hash_networks` of the weights.
    """
    return {
        "labels": json.dumps(list(labels), ensure_ascii=False),
        "roles": json.dumps(list(roles)),
        "model_sha256": digest,
        "detector_model": values["detector_model"],
        "classifier_model": values["classifier_model"],
        "package_version": __version__,
    }


def write_repository(
    folder: Path,
    options: ServingOptions,
    values: Mapping[str, Any],
    facts: Mapping[str, str],
    packages: Path,
) -> None:
    """Write a model repository with the detector, for Triton's Python backend.

    Args:
        values: detector parameters that each instance loads with.
        facts: the result of `describe_model`.
        packages: folder with the NumPy that the backend understands.
    """
    parameters = {**facts, "detector_values": json.dumps(dict(values))}
    version = write_model(
        folder,
        {
            "name": options.model_name,
            "backend": "python",
            # Images differ in size, and a batch gains nothing on a CPU.
            "max_batch_size": 0,
            "input": INPUTS,
            "output": OUTPUTS,
            "instance_group": {"count": options.instances, "kind": Word("KIND_CPU")},
            "dynamic_batching": {
                "default_queue_policy": queue_policy(options.queue_size, options.queue_limit)
            },
            "parameters": to_map(parameters),
        },
    )
    # Triton starts a Python of its own; it must find what this one finds.
    places = [str(packages), str(PACKAGE.parent), *(p for p in sys.path if p)]
    (version / "model.py").write_text(
        f"import sys\n\nsys.path[:0] = {places!r}\n"
        "from mask_detector_ros.serving.triton_model import TritonPythonModel  # noqa\n",
        encoding="utf-8",
    )


def queue_policy(size: int, limit: float) -> dict[str, Any]:
    """The queue policy for a model's config: reject a request at once when the queue is full, and
    after `limit` seconds."""
    return {
        "timeout_action": Word("REJECT"),
        "default_timeout_microseconds": round(limit * 1e6),
        "allow_timeout_override": True,
        "max_queue_size": size,
    }


def write_model(folder: Path, config: Mapping[str, Any]) -> Path:
    """Write the config of a model into a Triton repository.

    Returns:
        The folder of its version, which is empty.
    """
    version = folder / str(config["name"]) / VERSION
    version.mkdir(parents=True)
    (version.parent / "config.pbtxt").write_text(to_text(config), encoding="utf-8")
    return version


def to_text(message: Mapping[str, Any], indent: str = "") -> str:
    """Format a model's config as a message in protobuf's text format.

    Args:
        message: values by field; a list repeats its field, a mapping is a message, a `Word` is
            written without quotes.
    """
    lines = []
    for field, value in message.items():
        if isinstance(value, Mapping):
            lines.append(f"{indent}{field} {{\n{to_text(value, indent + '  ')}{indent}}}\n")
        elif isinstance(value, list | tuple):
            lines += [to_text({field: each}, indent) for each in value]
        else:
            lines.append(f"{indent}{field}: {_scalar(value)}\n")
    return "".join(lines)


def to_map(values: Mapping[str, str]) -> list[dict[str, Any]]:
    """Format the `parameters` of a model's config."""
    return [{"key": key, "value": {"string_value": value}} for key, value in values.items()]


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float | Word):
        return str(value)
    # JSON escapes what the text format does, in the same way; \u is not known there.
    return json.dumps(str(value), ensure_ascii=False)
