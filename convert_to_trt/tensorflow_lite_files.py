# SPDX-License-Identifier: Apache-2.0
"""Read metadata and operations of a TensorFlow Lite file without an interpreter."""

import struct
from pathlib import Path
from typing import Any

from tensorflow.lite.python import schema_py_generated as schema

from convert_to_trt.tensorflow_code_check import COMPUTING
from convert_to_trt.tensorflow_lite_metadata import LiteMetadata
from mask_detector_ros.errors import ModelError

_BUILTIN_CUSTOM = 32
"""BuiltinOperator.CUSTOM: an operation outside TensorFlow Lite's own list."""


def custom_operations(content: bytes) -> set[str]:
    """Names of the operations in a TensorFlow Lite file that are not TensorFlow Lite's own.

    Raises:
        ValueError: the file is damaged.
    """
    model = _model(content)
    try:
        codes = [model.OperatorCodes(i) for i in range(model.OperatorCodesLength())]
        return {
            (code.CustomCode() or b"?").decode(errors="replace")
            for code in codes
            if max(code.BuiltinCode(), code.DeprecatedBuiltinCode()) == _BUILTIN_CUSTOM
            or code.CustomCode()
        }
    except (struct.error, IndexError, TypeError) as error:
        raise ValueError(f"its table of operations is damaged ({error})") from error


def reject_custom_operations(path: Path) -> None:
    """Raise ModelError if a TensorFlow Lite file has operations that do more than compute.

    TensorFlow's interpreter runs any TensorFlow operation called `Flex...`, such as FlexWriteFile.

    Raises:
        ModelError: it has, or the file is damaged.
    """
    try:
        names = custom_operations(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} is damaged ({error}); get the file again") from error
    found = sorted(name for name in names if name.removeprefix("Flex") not in COMPUTING)
    if "edgetpu-custom-op" in found:
        raise ModelError(
            f"{path} is compiled for an Edge TPU and runs nowhere else; give the .tflite file that"
            " it was compiled from"
        )
    if found:
        raise ModelError(
            f"{path} carries code: the operations {', '.join(found[:6])} are not among those that"
            " only compute; if you trust its author, add --trust"
        )


def read_metadata(path: Path) -> LiteMetadata:
    """Read the metadata of a TensorFlow Lite file that passed `reject_custom_operations`.

    Raises:
        ModelError: the file is damaged.
    """
    try:
        content = path.read_bytes()
        return LiteMetadata(content, _model(content))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} is damaged ({error}); get the file again") from error


def _model(content: bytes) -> Any:
    try:
        return schema.Model.GetRootAs(bytearray(content), 0)
    except (struct.error, IndexError, TypeError) as error:
        raise ValueError(f"it is no flatbuffer ({error})") from error
