"""OpenVINO on the CPU."""

from __future__ import annotations

import sys
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from mask_detector_ros.errors import ModelError
from mask_detector_ros.inference.base import Array, EngineOptions, Session, TensorInfo


@contextmanager
def _without_telemetry() -> Iterator[None]:
    """Import OpenVINO inside.

    `import openvino` also loads its converter, which would write `~/intel/` and open a connection
    to report that. There is no switch for it; without the package that reports, it loads a stub.
    """
    name = "openvino_telemetry"
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # an import of it raises ImportError
    try:
        yield
    finally:
        del sys.modules[name]


with _without_telemetry():
    import openvino as ov
    import openvino.opset13
    from openvino import preprocess

_Shapes = tuple[tuple[int, ...], ...]

FIXED_AFTER = 4
"""Runs on one shape after which the network is compiled for it alone, which takes 40 to 80 ms."""

SHAPES_KEPT, UNUSED_AFTER = 16, 256
"""Shapes that a network is compiled for: of P-Net one takes up to 12 MB. One that so many runs
did not have gives way to another."""


def create(
    model: bytes, name: str, threads: int, options: EngineOptions, concurrent: bool
) -> OpenVinoSession:
    """Load a serialised ONNX model; see `inference.create_session`.

    It has one thread: a network for each thread and each shape would take much memory, and its own
    threads are as fast.
    """
    return OpenVinoSession(model, name, threads)


class OpenVinoSession(Session):
    """A network compiled for any shape, and again for the shapes that come often.

    One of free shape prepares itself anew whenever the shape changes, which costs 0.3 to 1 ms,
    as much as several crops, and takes a seventh longer of P-Net even where it does not change.
    Batches are filled up, so that there are few sizes.
    """

    backend = "openvino"

    def __init__(self, model: bytes, name: str, threads: int) -> None:
        self._core = ov.Core()
        self._settings: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            # bfloat16 and float16 would change scores from machine to machine.
            "INFERENCE_PRECISION_HINT": "f32",
            # It would tie thread k of every process to core k: two detectors of one thread
            # would share the first core.
            "ENABLE_CPU_PINNING": False,
        }
        if threads:
            self._settings["INFERENCE_NUM_THREADS"] = threads
        try:
            self._network = self._core.read_model(model, b"")
            self.inputs = tuple(_tensor_info(port) for port in self._network.inputs)
            _restore_prelu(self._network)
            _split_flat_maps(self._network)
            self._takes_pixels = [_is_image(tensor) for tensor in self.inputs]
            self._network = _with_channels_last(self._network, self._takes_pixels)
            compiled = self._compile(self._network)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise ModelError(
                f"{name} is not a model that OpenVINO {ov.get_version()} can load ({reason});"
                " the file is damaged or of another kind: get it again"
            ) from error
        self._of_any_shape = compiled.create_infer_request()
        self._of_shape: OrderedDict[_Shapes, tuple[Any, int]] = OrderedDict()
        self._came: Counter[_Shapes] = Counter()
        self._runs = 0
        self.name = name
        self.device = "CPU"
        # A compiled network may give a tensor the names of others that it was merged with.
        self.outputs = tuple(_tensor_info(port) for port in self._network.outputs)
        self.metadata = _read_metadata(self._network)
        self._has_free_shape = any(-1 in tensor.shape for tensor in self.inputs)
        self._takes_batches = all(
            tensor.shape[:1] == (-1,) and tensor.shape.count(-1) == 1
            for tensor in (*self.inputs, *self.outputs)
        )

    def _compile(self, network: Any) -> Any:
        return self._core.compile_model(network, "CPU", self._settings)

    def _run(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        if not all(array.size for array in arrays.values()):
            # Of no images OpenVINO returns what it last returned of some.
            return {t.name: np.empty((0, *t.shape[1:]), t.dtype) for t in self.outputs}
        values = [
            np.moveaxis(arrays[tensor.name], 1, -1) if takes_pixels else arrays[tensor.name]
            for tensor, takes_pixels in zip(self.inputs, self._takes_pixels, strict=True)
        ]
        count = len(values[0])
        size = _fill_up(count) if self._takes_batches else count
        request = self._request_for(tuple((size, *value.shape[1:]) for value in values))
        for index, (value, tensor) in enumerate(zip(values, self.inputs, strict=True)):
            if request is self._of_any_shape:
                whole = np.ascontiguousarray(value, tensor.dtype)
                request.set_input_tensor(index, ov.Tensor(whole, shared_memory=True))
            else:
                # Into OpenVINO's own memory, as results are copied out of it: NumPy's is not
                # aligned as it wants it. What lies behind the last crop does not matter.
                request.get_input_tensor(index).data[:count] = value
        # Runs in this thread, whose core has the images in its cache; `start_async` does not.
        request.infer(share_outputs=True)
        outputs = [request.get_output_tensor(index).data for index in range(len(self.outputs))]
        if self._takes_batches:
            outputs = [output[:count] for output in outputs]
        names = (tensor.name for tensor in self.outputs)
        return {name: output.copy() for name, output in zip(names, outputs, strict=True)}

    def _request_for(self, shapes: _Shapes) -> Any:
        """The network for inputs of these shapes: for any, as long as they have not come often."""
        if not self._has_free_shape:
            return self._of_any_shape
        self._runs += 1
        if shapes in self._of_shape:
            request, _ = self._of_shape.pop(shapes)
        else:
            if len(self._came) > 10 * UNUSED_AFTER:
                self._came.clear()
            self._came[shapes] += 1
            if self._came[shapes] < FIXED_AFTER or not self._make_room():
                return self._of_any_shape
            network = self._network.clone()
            network.reshape(dict(zip((t.name for t in self.inputs), shapes, strict=True)))
            request = self._compile(network).create_infer_request()
            del self._came[shapes]
        # Behind the others: the first is the one that was not used for the longest time.
        self._of_shape[shapes] = request, self._runs
        return request

    def _make_room(self) -> bool:
        """Whether one more shape can be kept, perhaps in the place of one that comes no more."""
        if len(self._of_shape) < SHAPES_KEPT:
            return True
        shapes, (_, last_run) = next(iter(self._of_shape.items()))
        if self._runs - last_run < UNUSED_AFTER:
            return False
        del self._of_shape[shapes]
        return True


def _fill_up(count: int) -> int:
    """The next of 1, 2, ... 8, 10, 12, 14, 16, 20, ... crops: a twentieth more on average."""
    step = max(1 << (count - 1).bit_length() >> 3, 1)
    return -(-count // step) * step


def _restore_prelu(network: Any) -> None:
    """Give OpenVINO the PReLU that the cascade's files spell out for ONNX Runtime.

    They have slope * x + relu((1 - slope) * x), or (1 - slope) * relu(x) behind the plus, with
    depthwise convolutions (training/make_mtcnn_onnx.py). In OpenVINO the operator takes a fifth
    less time of O-Net.
    """
    for add in network.get_ordered_ops():
        if add.get_type_name() != "Add":
            continue
        straight, bent = (add.input_value(i).get_node() for i in (0, 1))
        kinds = {bent.get_type_name()}
        if straight.get_type_name() != "GroupConvolution" or not bent.inputs():
            continue
        inner = bent.input_value(0).get_node()
        kinds.add(inner.get_type_name())
        source = straight.input_value(0)
        if kinds != {"Relu", "GroupConvolution"} or inner.input_value(0) != source:
            continue
        scale = inner if inner.get_type_name() == "GroupConvolution" else bent
        slope = _constant(straight)
        if not np.allclose(_constant(scale), 1 - slope):
            continue
        prelu = ov.opset13.prelu(source, ov.opset13.constant(slope))
        for target in add.output(0).get_target_inputs():
            target.replace_source_output(prelu.output(0))
    network.validate_nodes_and_infer_types()


def _is_image(tensor: TensorInfo) -> bool:
    """Whether it takes colour images, channels first."""
    return tensor.dtype == np.float32 and len(tensor.shape) == 4 and tensor.shape[1] == 3


def _with_channels_last(network: Any, which: list[bool]) -> Any:
    """Let these inputs take (N, H, W, 3), which is how images lie in memory and how OpenVINO
    wants them."""
    steps = preprocess.PrePostProcessor(network)
    for index, chosen in enumerate(which):
        if chosen:
            steps.input(index).tensor().set_layout(ov.Layout("NHWC"))
            steps.input(index).model().set_layout(ov.Layout("NCHW"))
    return steps.build()


def _split_flat_maps(network: Any) -> None:
    """Split the channels of maps as rows of (N, C, H * W).

    OpenVINO keeps maps with their channels innermost and splits such with its slow reference
    code, which takes a twentieth of the time of P-Net.
    """
    op = openvino.opset13
    for node in network.get_ordered_ops():
        maps = node.input_value(0) if node.get_type_name() == "VariadicSplit" else None
        if maps is None or maps.get_partial_shape().rank != 4 or _number(node, 1) != 1:
            continue
        sides = op.gather(op.shape_of(maps), op.constant([2, 3]), op.constant(0))
        as_before = op.concat([op.constant(np.array([0, 0])), sides], 0)
        rows = op.reshape(maps, op.constant(np.array([0, 0, -1])), True)
        parts = op.variadic_split(rows, node.input_value(1), node.input_value(2))
        for old, new in zip(node.outputs(), parts.outputs(), strict=True):
            replacement, names = op.reshape(new, as_before, True).output(0), old.get_names()
            old.set_names(set())
            replacement.set_names(names)
            for target in old.get_target_inputs():
                target.replace_source_output(replacement)
    network.validate_nodes_and_infer_types()


def _number(node: Any, index: int) -> int | None:
    """The constant that is an input of a node; None for one that is computed."""
    source = node.input_value(index).get_node()
    return int(source.get_data().item()) if source.get_type_name() == "Constant" else None


def _constant(convolution: Any) -> Array:
    """(C,) weights of a depthwise 1x1 convolution; NaN for any other."""
    node = convolution.input_value(1).get_node()
    while node.get_type_name() == "Reshape":
        node = node.input_value(0).get_node()
    shape = list(convolution.input_value(1).get_shape())
    if node.get_type_name() != "Constant" or shape[1:] != [1] * 4:
        return np.full(1, np.nan, np.float32)
    return np.array(node.get_data(), np.float32).reshape(-1)


def _tensor_info(port: Any) -> TensorInfo:
    shape = tuple(d.get_length() if d.is_static else -1 for d in port.get_partial_shape())
    return TensorInfo(port.get_any_name(), np.dtype(port.get_element_type().to_dtype()), shape)


def _read_metadata(network: Any) -> dict[str, str]:
    """The ONNX metadata, which OpenVINO keeps under `framework` in the runtime info."""
    if not network.has_rt_info("framework"):
        return {}
    return {str(key): str(value) for key, value in network.get_rt_info("framework").value.items()}
