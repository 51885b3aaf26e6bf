# SPDX-License-Identifier: Apache-2.0
"""Load TensorFlow Lite models, in float or quantised, to convert them."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tensorflow as tf
from numpy.typing import NDArray
from onnx import TensorProto, helper

from convert_to_trt.loaded_network import Network, in_steps
from convert_to_trt.onnx_inputs_outputs import choose_output, free_batch
from convert_to_trt.onnx_models import batch_of
from convert_to_trt.tensorflow_lite_files import read_metadata, reject_custom_operations
from convert_to_trt.tensorflow_models import choose_index, require_one_input, unloadable, unrunnable
from convert_to_trt.tensorflow_to_onnx import translate_lite


def load_tensorflow_lite(
    path: Path, opset: int, output: str | None = None, trust: bool = False
) -> Network:
    """Load a TensorFlow Lite model (`.tflite`) to convert it.

    A quantised input of unsigned bytes takes pixels; one of signed bytes gets a quantisation
    before it, so that it takes the real values that the network was trained on.

    Raises:
        ModelError: it is damaged, has several inputs or outputs, or operations that do more than
            compute and no `trust`.
    """
    if not trust:
        reject_custom_operations(path)
    try:
        with warnings.catch_warnings():
            # It announces that TensorFlow will hand its interpreter over to another package.
            warnings.simplefilter("ignore")
            interpreter = tf.lite.Interpreter(str(path), num_threads=1)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError, OSError) as error:
        raise unloadable(path, "TensorFlow Lite", error) from error
    sources, results = interpreter.get_input_details(), interpreter.get_output_details()
    require_one_input(path, [detail["name"] for detail in sources])
    source = sources[0]
    names = [detail["name"] for detail in results]
    metadata = read_metadata(path)
    labelled = metadata.labelled_outputs(len(names))
    if output is None and len(labelled) == 1:
        # Of several outputs, the one whose values have names.
        output = names[labelled[0]]
    index = choose_index(path, names, [list(detail["shape"]) for detail in results], output)
    result = results[index]
    model = translate_lite(path, opset)
    choose_output(model, result["name"], str(path))
    free_batch(model, batch_of(model) or int(source["shape"][0]))
    is_signed = source["dtype"] == np.int8
    if is_signed:
        _quantise_input(model, *source["quantization"])
    if result["dtype"] != np.float32:
        _dequantise_output(model, result)

    def run(batch: NDArray[Any]) -> NDArray[Any]:
        if is_signed:
            scale, zero = source["quantization"]
            batch = np.clip(np.rint(batch / np.float32(scale)) + zero, -128, 127)
        try:
            interpreter.set_tensor(source["index"], batch.astype(source["dtype"]))
            interpreter.invoke()
            values = interpreter.get_tensor(result["index"])
        except (ValueError, RuntimeError) as error:
            raise unrunnable(path, error) from error
        if result["dtype"] != np.float32:
            scale, zero = result["quantization"]
            values = (values.astype(np.float32) - zero) * np.float32(scale)
        return np.array(values)

    details = interpreter.get_tensor_details()
    is_quantised = any(detail["dtype"] in (np.int8, np.uint8) for detail in details)
    framework = f"TensorFlow Lite (TensorFlow {tf.__version__})"
    batch_size = int(source["shape"][0])
    known = metadata.read(index)
    return Network(model, in_steps(run, batch_size), framework, known, is_quantised)


def _quantise_input(model: onnx.ModelProto, scale: float, zero: int) -> None:
    graph = model.graph
    old = graph.input[0]
    name = old.name
    graph.initializer.append(helper.make_tensor("pixel_scale", TensorProto.FLOAT, [], [scale]))
    graph.initializer.append(helper.make_tensor("pixel_zero", TensorProto.INT8, [], [zero]))
    inputs = ["real_values", "pixel_scale", "pixel_zero"]
    graph.node.insert(0, helper.make_node("QuantizeLinear", inputs, [name]))
    shape = [d.dim_value or "batch" for d in old.type.tensor_type.shape.dim]
    del graph.input[:]
    graph.input.append(helper.make_tensor_value_info("real_values", TensorProto.FLOAT, shape))


def _dequantise_output(model: onnx.ModelProto, detail: dict[str, Any]) -> None:
    graph = model.graph
    old = graph.output[0]
    scale, zero = detail["quantization"]
    element = helper.np_dtype_to_tensor_dtype(np.dtype(detail["dtype"]))
    graph.initializer.append(helper.make_tensor("result_scale", TensorProto.FLOAT, [], [scale]))
    graph.initializer.append(helper.make_tensor("result_zero", element, [], [zero]))
    inputs = [old.name, "result_scale", "result_zero"]
    graph.node.append(helper.make_node("DequantizeLinear", inputs, ["real_result"]))
    shape = [d.dim_value or None for d in old.type.tensor_type.shape.dim]
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info("real_result", TensorProto.FLOAT, shape))
