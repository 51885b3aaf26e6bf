# SPDX-License-Identifier: Apache-2.0
"""Translate TensorFlow graphs with tf2onnx, and explain its errors."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tensorflow as tf
import tf2onnx
from tf2onnx.handler import tfl_op
from tf2onnx.tflite_handlers.tfl_math import TflFullyConnectedOp
from tf2onnx.utils import make_name

from convert_to_trt.tensorflow_models import Original
from mask_detector_ros.errors import ModelError

logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)


@tfl_op(["TFL_FULLY_CONNECTED"])
class _FullyConnected(TflFullyConnectedOp):
    """As in tf2onnx 1.17, which loses the bias where the input has more than two dimensions."""

    @classmethod
    def to_tf(cls, ctx: Any, node: Any, **options: Any) -> None:
        if node.attr["keep_num_dims"].i == 0 and ctx.get_rank(node.input[0]) != 2:
            _, columns = ctx.get_shape(node.input[1])
            shape = ctx.make_const(make_name("flat_shape"), np.array([-1, columns], np.int64))
            flat = ctx.make_node("Reshape", [node.input[0], shape.output[0]])
            flat.skip_conversion = True
            ctx.replace_input(node, node.input[0], flat.output[0], input_index=0)
            node.set_attr("keep_num_dims", 1)
        super().to_tf(ctx, node, **options)


def translate(original: Original, opset: int, name: str) -> onnx.ModelProto:
    """Translate the frozen graph of a TensorFlow model to ONNX with tf2onnx.

    Args:
        original: the model.
        opset: version of the ONNX operations to use.
        name: the model's name in errors.

    Raises:
        ModelError: the graph uses operations that ONNX lacks.
    """
    return _translate(
        lambda: tf2onnx.convert.from_graph_def(
            original.graph,
            input_names=original.inputs,
            output_names=original.outputs,
            opset=opset,
        )[0],
        name,
    )


def translate_lite(path: Path, opset: int) -> onnx.ModelProto:
    """Translate a TensorFlow Lite file to ONNX with tf2onnx.

    Raises:
        ModelError: it uses operations that ONNX lacks.
    """
    return _translate(lambda: tf2onnx.convert.from_tflite(str(path), opset=opset)[0], str(path))


def _translate(work: Callable[[], onnx.ModelProto], name: str) -> onnx.ModelProto:
    try:
        model = work()
    except (
        AssertionError,
        AttributeError,
        IndexError,
        NotImplementedError,
        ValueError,
        TypeError,
        KeyError,
        RuntimeError,
        tf.errors.OpError,
    ) as error:
        reason = " ".join(str(error).split())[:300]
        raise ModelError(
            f"tf2onnx cannot translate {name} ({reason}); replace that layer and train it again"
        ) from error
    nodes = model.graph.node
    unknown = {n.op_type for n in nodes if not onnx.defs.has(n.op_type, domain=n.domain)}
    if unknown:
        raise ModelError(
            f"{name} uses operations that ONNX lacks: {', '.join(sorted(unknown))}; replace those "
            "layers and train it again"
        )
    return model
