# SPDX-License-Identifier: Apache-2.0
"""Session: the base class of the loaded networks of all backends: named arrays in, named arrays
out."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from mask_detector_ros.errors import ModelError

Array = NDArray[Any]

PROBABILITY_TOLERANCE = 1e-3
"""Tolerance by which rounding (also fp16) may move a probability outside 0 to 1."""


def require_probabilities(values: Array, model: str, output: str) -> None:
    """Raise ModelError if an output of a session, of any backend, holds anything but numbers from 0
    to 1."""
    low, high = (values.min(), values.max()) if values.size else (0, 0)
    # The comparisons are false for NaN.
    if not (low >= -PROBABILITY_TOLERANCE and high <= 1 + PROBABILITY_TOLERANCE):
        raise ModelError(
            f"{model} gives {output} from {low:g} to {high:g}, which are not probabilities; the "
            "network must end in a softmax or sigmoid and give finite numbers"
        )


def require_finite(values: Array, model: str, output: str) -> None:
    """Raise ModelError if an output of a session, of any backend, holds NaN or infinity."""
    if not np.isfinite(values).all():
        raise ModelError(f"{model} gives NaN or infinity in {output}; give another model")


CPU_BATCH, GPU_BATCH = 16, 128
"""Maximum number of crops per call. On a CPU intermediate results stay in a core's cache, which
takes a quarter less time than calls of 128. On a GPU the call overhead dominates, and the limit
bounds the memory that a crowd can take."""


@dataclass(frozen=True)
class TensorInfo:
    """Name, element type and shape of an input or output; -1 is a dynamic dimension."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} {self.shape}"

    def accepts(self, array: Array) -> bool:
        """Whether an array fits a session's input of this shape and element type; uint8 is accepted
        for float32."""
        are_pixels = array.dtype == np.uint8 and self.dtype == np.float32
        return (
            (are_pixels or array.dtype == self.dtype)
            and array.ndim == len(self.shape)
            and all(want in (-1, got) for want, got in zip(self.shape, array.shape, strict=True))
        )


class Session(ABC):
    """A loaded network, whatever its backend.

    Attributes:
        name: the model's name, for messages.
        backend: the library that runs it.
        device: the device it actually runs on, as the backend names it.
        inputs, outputs: the network's tensors, in the file's order.
        metadata: the metadata of the ONNX file.
        concurrency: number of threads that may call `run` at a time.
        batch_limit: maximum number of crops per call.
    """

    name: str
    backend: str
    device: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    metadata: Mapping[str, str]
    concurrency: int = 1
    batch_limit: int = CPU_BATCH

    @property
    def lost(self) -> bool:
        """Whether a session of any backend lost its connection to a server, so that only another
        session can serve."""
        return False

    def configure(self, settings: Mapping[str, Any]) -> None:  # noqa: B027
        """Give a session live parameters from now on; only a whole detector on a server uses
        them."""

    def offer_jpeg(self, image: Array, data: bytes) -> None:  # noqa: B027
        """Offer the JPEG that an image was decoded from; only a connection to a server uses it."""

    def close(self) -> None:  # noqa: B027
        """Close a session of any backend, and its connection to a server, if there is one."""

    def run(self, **arrays: Array) -> dict[str, Array]:
        """Run a session's network once.

        Args:
            arrays: one array per input, by name, in any memory layout. Float32 inputs also accept
                uint8, which each backend converts in its fastest way.

        Returns:
            One array per output, by name. The caller owns them.

        Raises:
            ModelError: an array does not fit its input.
        """
        for tensor in self.inputs:
            array = arrays.get(tensor.name)
            if array is None or not tensor.accepts(array):
                got = "nothing" if array is None else f"{array.dtype} {array.shape}"
                raise ModelError(f"{self.name} takes {tensor}, got {got}")
        return self._run(arrays)

    @abstractmethod
    def _run(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Run the network on validated arrays."""

    def require(
        self,
        inputs: Mapping[str, tuple[int, ...]],
        outputs: tuple[str, ...],
        dtype: DTypeLike = np.float32,
    ) -> None:
        """Check the names and shapes of a session's inputs and outputs.

        Args:
            inputs: shape by name; -1 is a dynamic dimension.
            outputs: names of required outputs.
            dtype: element type of all inputs.

        Raises:
            ModelError: inputs or outputs differ; the message gives the expected and actual ones.
        """
        wanted = {TensorInfo(name, np.dtype(dtype), shape) for name, shape in inputs.items()}
        names = [tensor.name for tensor in self.outputs]
        if wanted != set(self.inputs) or not set(outputs) <= set(names):
            raise ModelError(
                f"{self.name} is not of the expected form: it must take"
                f" {', '.join(map(str, wanted))} and give {', '.join(outputs)}; the file takes"
                f" {', '.join(map(str, self.inputs))} and gives {', '.join(names)};"
                " give the file that was made for this stage"
            )
