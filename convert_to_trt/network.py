# SPDX-License-Identifier: Apache-2.0
"""A model after loading, whatever it came from: the same network twice, as ONNX and as it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import onnx

from mask_detector_ros.inference.base import Array

Run = Callable[[Array], Array]


@dataclass(frozen=True)
class Network:
    """A network as ONNX, and the original to compare with.

    Attributes:
        model: one input, a batch of images, and one output.
        run: one input batch of any size to the output batch, in the framework that made it.
        framework: its name and version.
        metadata: what the file says about labels and preprocessing, as ONNX metadata.
        is_quantised: whether the original computes in int8, so that it differs from the same
            network in float by its own rounding.
    """

    model: onnx.ModelProto
    run: Run
    framework: str
    metadata: dict[str, str] = field(default_factory=dict)
    is_quantised: bool = False


def in_steps(run: Run, batch_size: int) -> Run:
    """The same for any number of crops, by batches of the size that a network is tied to."""

    def run_all(batch: Array) -> Array:
        # The last batch is filled up with black.
        filled = np.concatenate(
            [batch, np.zeros((-len(batch) % batch_size, *batch.shape[1:]), batch.dtype)]
        )
        steps = range(0, len(filled), batch_size)
        parts = [np.asarray(run(filled[i : i + batch_size])) for i in steps]
        return np.concatenate([np.atleast_1d(part) for part in parts])[: len(batch)]

    return run_all
