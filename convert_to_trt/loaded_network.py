# SPDX-License-Identifier: Apache-2.0
"""A loaded network of any framework: as ONNX, and the original."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import onnx

from mask_detector_ros.errors import ModelError
from mask_detector_ros.inference.session import Array

Run = Callable[[Array], Array]


@dataclass(frozen=True)
class Network:
    """A loaded network as ONNX, and the original to compare with.

    Attributes:
        model: one input, a batch of images, and one output.
        run: maps an input batch of any size to the output batch, in the original framework.
        framework: name and version of the original framework.
        metadata: labels and preprocessing given in the file, as ONNX metadata, each part with its
            place in the file.
        is_quantised: whether the original computes in int8, so that its rounding makes it differ
            from the float network.
    """

    model: onnx.ModelProto
    run: Run
    framework: str
    metadata: tuple[tuple[dict[str, str], str], ...] = ()
    is_quantised: bool = False


def reject_detector(name: str, outputs: Iterable[str]) -> None:
    """Raise ModelError if a network's outputs have the names that object detectors give.

    Raises:
        ModelError: they have.
    """
    # Of Custom Vision, and of TensorFlow's Object Detection API.
    if {"detected_boxes", "detection_boxes"} & {output.split(":")[0] for output in outputs}:
        raise ModelError(
            f"{name} is an object detector ({', '.join(outputs)}); the node finds the faces itself"
            " and needs a classifier of face crops"
        )


def in_steps(run: Run, batch_size: int) -> Run:
    """Make a function of any number of crops from a loaded network's with a fixed batch size."""

    def run_all(batch: Array) -> Array:
        # Pad the last batch with black.
        filled = np.concatenate(
            [batch, np.zeros((-len(batch) % batch_size, *batch.shape[1:]), batch.dtype)]
        )
        steps = range(0, len(filled), batch_size)
        parts = [np.asarray(run(filled[i : i + batch_size])) for i in steps]
        return np.concatenate([np.atleast_1d(part) for part in parts])[: len(batch)]

    return run_all
