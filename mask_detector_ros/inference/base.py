"""What every backend offers: named arrays in, named arrays out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mask_detector_ros.errors import ModelError

Array = NDArray[Any]


@dataclass(frozen=True)
class TensorInfo:
    """Name, element type and shape of an input or output; -1 is a free dimension."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def accepts(self, array: Array) -> bool:
        """Whether an array has this element type and fits this shape."""
        return (
            array.dtype == self.dtype
            and array.ndim == len(self.shape)
            and all(want in (-1, got) for want, got in zip(self.shape, array.shape, strict=True))
        )


class Session(ABC):
    """A loaded network. One thread at a time may call `run`.

    Attributes:
        name: the model's name, for messages.
        backend: the library that runs it.
        device: where it runs in fact, in the backend's own words.
        inputs, outputs: the network's tensors, in the file's order.
        metadata: the metadata of the ONNX file.
    """

    name: str
    backend: str
    device: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    metadata: Mapping[str, str]

    def run(self, **arrays: Array) -> dict[str, Array]:
        """Run the network once.

        Args:
            arrays: one array for each input, by name.

        Returns:
            One array for each output, by name. They are the caller's to keep.

        Raises:
            ModelError: an array does not fit the input it is meant for.
        """
        for tensor in self.inputs:
            array = arrays.get(tensor.name)
            if array is None or not tensor.accepts(array):
                got = "nothing" if array is None else f"{array.dtype} {array.shape}"
                raise ModelError(
                    f"{self.name}: input {tensor.name} takes {tensor.dtype} {tensor.shape}, got {got}"
                )
        return self._run(arrays)

    @abstractmethod
    def _run(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Run the network on checked arrays."""

    def require(self, inputs: Mapping[str, tuple[int, ...]], outputs: tuple[str, ...]) -> None:
        """Check that the network is of the expected form.

        Args:
            inputs: shape by name; -1 stands for any size.
            outputs: names that must be there.

        Raises:
            ModelError: says what was expected and what the file holds.
        """
        shapes = {tensor.name: tensor.shape for tensor in self.inputs}
        names = tuple(tensor.name for tensor in self.outputs)
        fits = set(shapes) == set(inputs) and all(
            len(shapes[name]) == len(shape)
            and all(want in (-1, got) for want, got in zip(shape, shapes[name], strict=True))
            for name, shape in inputs.items()
        )
        if not fits or not set(outputs) <= set(names):
            raise ModelError(
                f"{self.name} is not of the expected form: wanted inputs {dict(inputs)} and outputs"
                f" {outputs}, the file has inputs {shapes} and outputs {names};"
                " give the file that was made for this stage"
            )
