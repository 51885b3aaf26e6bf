# SPDX-License-Identifier: Apache-2.0
"""Read metadata and operations of a TensorFlow Lite file without an interpreter.

Source of the metadata's fields: tensorflow/lite/support/metadata/metadata_schema.fbs.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flatbuffers import number_types
from flatbuffers.table import Table
from tensorflow.lite.python import schema_py_generated as schema

from convert_to_trt.tensorflow_code_check import COMPUTING
from mask_detector_ros.errors import ModelError

_METADATA = b"TFLITE_METADATA"

# Index of each field in its table.
_SUBGRAPHS, _INPUTS, _PROCESS_UNITS, _OPTIONS_TYPE, _OPTIONS, _MEAN, _STD = 3, 2, 4, 0, 1, 0, 1
_NORMALISATION = 1
"""Number of NormalizationOptions in the union ProcessUnitOptions."""

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


def read_preprocessing(content: bytes) -> dict[str, str]:
    """Read the normalisation in a TensorFlow Lite file's metadata, as ONNX metadata; empty if there
    is none."""
    try:
        for mean, std in _normalisations(_model(content)):
            if len(set(mean)) == len(set(std)) == 1 and std[0] > 0:
                scale, offset = 1 / std[0], -mean[0] / std[0]
                return {"color": "RGB", "scale": repr(scale), "offset": repr(offset)}
    except (struct.error, IndexError, TypeError, ValueError):
        # It is a note for people and tools; without it the user gives the options.
        pass
    return {}


def _model(content: bytes) -> Any:
    try:
        return schema.Model.GetRootAs(bytearray(content), 0)
    except (struct.error, IndexError, TypeError) as error:
        raise ValueError(f"it is no flatbuffer ({error})") from error


def _normalisations(model: Any) -> Iterator[tuple[list[float], list[float]]]:
    for i in range(model.MetadataLength()):
        entry = model.Metadata(i)
        if entry.Name() != _METADATA:
            continue
        buffer = bytearray(model.Buffers(entry.Buffer()).DataAsNumpy().tobytes())
        root = Table(buffer, struct.unpack_from("<I", buffer)[0])
        for graph in _tables(root, _SUBGRAPHS):
            for tensor in _tables(graph, _INPUTS):
                for unit in _tables(tensor, _PROCESS_UNITS):
                    where = unit.Offset(4 + 2 * _OPTIONS_TYPE)
                    kind = unit.Get(number_types.Uint8Flags, where + unit.Pos) if where else 0
                    if kind == _NORMALISATION:
                        options = Table(buffer, 0)
                        unit.Union(options, unit.Offset(4 + 2 * _OPTIONS))
                        yield _floats(options, _MEAN), _floats(options, _STD)


def _tables(table: Any, field: int) -> Iterator[Any]:
    offset = table.Offset(4 + 2 * field)
    for i in range(table.VectorLen(offset) if offset else 0):
        yield Table(table.Bytes, table.Indirect(table.Vector(offset) + 4 * i))


def _floats(table: Any, field: int) -> list[float]:
    offset = table.Offset(4 + 2 * field)
    start = table.Vector(offset) if offset else 0
    count = table.VectorLen(offset) if offset else 0
    return [table.Get(number_types.Float32Flags, start + 4 * i) for i in range(count)]
