# SPDX-License-Identifier: Apache-2.0
"""The input form of a network: prepend operations that convert the node's pixels to its input."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from convert_to_trt.classifier_settings import Settings
from mask_detector_ros.errors import ParameterError
from mask_detector_ros.inference.session import Array

NODE_TYPES = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.UINT8)
"""Element types that the node can give; it casts to the first two after scaling."""

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in grey, as in OpenCV and PIL. Source: ITU-R BT.601."""

SMALLEST_SPAN = 0.1
"""Width of the range of a network's values, after its own scaling, over all pixel values. Below
it the pixels were scaled twice: no network was trained on values so close together."""


@dataclass(frozen=True)
class InputForm:
    """The form of a network's input, and the operations between node and network.

    Attributes:
        layout: `NHWC` or `NCHW`.
        height, width: size of the network's input in pixels.
        element: ONNX type of the network's input.
        channels: 3; 1 for a network that sees grey, 4 for one that also takes an alpha channel.
    """

    layout: str
    height: int
    width: int
    element: int
    channels: int

    @property
    def side(self) -> int:
        """Side in pixels of the square crops that the network's input takes."""
        return max(self.height, self.width)

    @property
    def is_pixels(self) -> bool:
        """Whether the network's input takes integers: unscaled pixels."""
        return self.element not in (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)

    @property
    def fed(self) -> int:
        """ONNX type of the input that the node feeds."""
        if self.element in NODE_TYPES:
            return self.element
        return TensorProto.UINT8 if self.is_pixels else TensorProto.FLOAT

    def shape(self, channels: int, height: int, width: int) -> list[str | int]:
        """Input shape of a batch of images."""
        if self.layout == "NHWC":
            return ["batch", height, width, channels]
        return ["batch", channels, height, width]

    def prepare(self, crops: Array, settings: Settings) -> Array:
        """Apply the input operations of `add_to` to (N, ...) crops as the node gives them."""
        values = crops
        if settings.mean is not None or self.channels != 3 or self.height != self.width:
            values = values.astype(np.float32)
        if settings.mean is not None and settings.std is not None:
            values = (values - self._by_channel(settings.mean)) / self._by_channel(settings.std)
        if self.channels != 3:
            matrix, bias = self._mixing(settings)
            axis = 3 if self.layout == "NHWC" else 1
            values = np.moveaxis(np.moveaxis(values, axis, 3) @ matrix + bias, 3, axis)
        if self.height != self.width:
            axis = 1 if self.layout == "NHWC" else 2
            rows, columns = self._squeezing()
            values = np.moveaxis(np.moveaxis(values, axis, 3) @ rows.T, 3, axis)
            values = np.moveaxis(np.moveaxis(values, axis + 1, 3) @ columns.T, 3, axis + 1)
        return values.astype(helper.tensor_dtype_to_np_dtype(self.element))

    def declare(self, model: onnx.ModelProto) -> None:
        """Declare the network's input as any number of crops of this form, in place."""
        graph = model.graph
        name = graph.input[0].name
        del graph.input[:]
        shape = self.shape(self.channels, self.height, self.width)
        graph.input.append(helper.make_tensor_value_info(name, self.element, shape))
        # Shapes recorded in the file may hold the old batch size.
        del graph.value_info[:]

    def to_network(self, pixels: Array, settings: Settings) -> Array:
        """Convert crops to the network's input: the node's preprocessing, then `prepare`.

        Args:
            pixels: (N, side, side, 3) uint8, BGR.
            settings: the preprocessing.
        """
        values: Array = pixels[..., ::-1] if settings.color == "RGB" else pixels
        if not self.is_pixels:
            values = values * np.float32(settings.scale) + np.float32(settings.offset)
        if self.layout == "NCHW":
            values = values.transpose(0, 3, 1, 2)
        return np.ascontiguousarray(self.prepare(values, settings))

    def add_to(self, model: onnx.ModelProto, settings: Settings) -> None:
        """Prepend the input operations that the node lacks; the input becomes `crops` with a
        dynamic batch size."""
        graph = model.graph
        old = graph.input[0].name
        nodes, value = [], "crops"
        element = self.fed

        def add(operation: str, *others: str, is_second: bool = False, **attributes: Any) -> None:
            nonlocal value
            output = f"prepared_{len(nodes)}"
            inputs = [*others, value] if is_second else [value, *others]
            nodes.append(helper.make_node(operation, inputs, [output], **attributes))
            value = output

        def cast(wanted: int) -> None:
            nonlocal element
            if wanted != element:
                add("Cast", to=wanted)
                element = wanted

        def constant(name: str, values: NDArray[Any]) -> str:
            typed = values if values.dtype == np.int64 else values.astype(np.float32)
            graph.initializer.append(numpy_helper.from_array(typed, name))
            return name

        if settings.mean is not None and settings.std is not None:
            cast(TensorProto.FLOAT)
            add("Sub", constant("channel_mean", self._by_channel(settings.mean)))
            add("Div", constant("channel_deviation", self._by_channel(settings.std)))
        is_nhwc = self.layout == "NHWC"
        if self.channels != 3:
            cast(TensorProto.FLOAT)
            matrix, bias = self._mixing(settings)
            if is_nhwc:
                add("MatMul", constant("mixing", matrix))
                add("Add", constant("mixing_bias", bias))
            else:
                kernel = constant("mixing", matrix.T[:, :, None, None])
                add("Conv", kernel, constant("mixing_bias", bias))
        if self.height != self.width:
            cast(TensorProto.FLOAT)
            rows, columns = self._squeezing()
            # MatMul takes the last two axes: in NHWC the columns are one of them, the rows are not.
            if self.width < self.side and is_nhwc:
                add("MatMul", constant("squeezing", columns), is_second=True)
            elif self.width < self.side:
                add("MatMul", constant("squeezing", columns.T))
            elif is_nhwc:
                flat, whole = (0, self.side, -1), (0, self.height, self.width, self.channels)
                add("Reshape", constant("flat_rows", np.array(flat)))
                add("MatMul", constant("squeezing", rows), is_second=True)
                add("Reshape", constant("whole_rows", np.array(whole)))
            else:
                add("MatMul", constant("squeezing", rows), is_second=True)
        cast(self.element)
        for node in graph.node:
            for i, source in enumerate(node.input):
                if source == old:
                    node.input[i] = value
        for i, node in enumerate(nodes):
            graph.node.insert(i, node)
        shape = self.shape(3, self.side, self.side)
        del graph.input[:]
        graph.input.append(helper.make_tensor_value_info("crops", self.fed, shape))

    def _mixing(self, settings: Settings) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(3, C) weights and (C,) bias that make the network's channels of the node's three."""
        if self.channels == 1:
            luma = LUMA if settings.color == "RGB" else LUMA[::-1]
            return np.array(luma, np.float32)[:, None], np.zeros(1, np.float32)
        opaque = 255 if self.is_pixels else 255 * settings.scale + settings.offset
        return np.eye(3, 4, dtype=np.float32), np.array([0, 0, 0, opaque], np.float32)

    def _squeezing(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Weights that make `height` rows and `width` columns of `side` each."""
        return _bilinear(self.height, self.side), _bilinear(self.width, self.side)

    def _by_channel(self, values: Any) -> NDArray[np.float32]:
        array = np.asarray(values, np.float32)
        return array if self.layout == "NHWC" else array[:, None, None]


def _bilinear(wanted: int, side: int) -> NDArray[np.float32]:
    """(wanted, side) weights that resize an axis by bilinear interpolation, as OpenCV's."""
    place = np.clip((np.arange(wanted) + 0.5) * side / wanted - 0.5, 0, side - 1)
    left = np.minimum(place.astype(np.int64), side - 2) if side > 1 else np.zeros(wanted, np.int64)
    weights = np.zeros((wanted, side), np.float32)
    weights[np.arange(wanted), left] = 1 - (place - left)
    weights[np.arange(wanted), np.minimum(left + 1, side - 1)] += place - left
    return weights


def find_own_scaling(model: onnx.ModelProto) -> tuple[float, float] | None:
    """Find the scaling that a network applies to its own input: value * scale + offset.

    It detects a Rescaling or Normalization layer of Keras, or equivalent operations, and averages
    over channels.

    Returns:
        Scale and offset; None if the network begins with something else.
    """
    graph = model.graph
    constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    value, scale, offset, found = graph.input[0].name, 1.0, 0.0, False
    while True:
        readers = [node for node in graph.node if value in node.input]
        if len(readers) != 1:
            break
        (node,) = readers
        others = [constants.get(name) for name in node.input if name != value]
        if node.op_type in ("Mul", "Div", "Add", "Sub") and len(others) == 1:
            if (
                others[0] is None
                or others[0].size not in (1, 3)
                or (node.input[0] != value and (node.op_type in ("Div", "Sub")))
            ):
                break
            factor = float(np.mean(others[0], dtype=np.float64))
            found = True
            if node.op_type in ("Mul", "Div"):
                factor = factor if node.op_type == "Mul" else 1 / factor
                scale, offset = scale * factor, offset * factor
            else:
                offset += factor if node.op_type == "Add" else -factor
        elif node.op_type not in ("Cast", "Identity", "Transpose", "Reshape"):
            break
        value = node.output[0]
    return (scale, offset) if found else None


def require_single_scaling(model: onnx.ModelProto, settings: Settings, name: str) -> None:
    """Raise ParameterError if both the network and the settings scale the input.

    Raises:
        ParameterError: both do; the message describes the network's scaling.
    """
    own = find_own_scaling(model)
    if own is None:
        return
    std = 1.0 if settings.std is None else float(np.mean(settings.std))
    span = 255 * abs(settings.scale) / std * abs(own[0])
    if span < SMALLEST_SPAN:
        raise ParameterError(
            f"{name} scales its input by itself (value * {own[0]:.4g} + {own[1]:.4g}, a Rescaling"
            " or Normalization layer), and the given preprocessing would scale it twice; give"
            " --preprocess none, with --color BGR if it was trained so"
        )
