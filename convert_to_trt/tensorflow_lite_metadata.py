# SPDX-License-Identifier: Apache-2.0
"""Read the labels and preprocessing in a TensorFlow Lite file's metadata.

Source of its fields: tensorflow/lite/support/metadata/metadata_schema.fbs.
"""

import io
import json
import struct
import zipfile
from collections.abc import Iterator
from typing import Any

from flatbuffers import number_types
from flatbuffers.table import Table

from convert_to_trt.model_label_files import SIZE_LIMIT, parse_labels

_NAME = b"TFLITE_METADATA"

# Index of each field in its table.
_SUBGRAPHS = 3
_INPUTS, _OUTPUTS = 2, 3
_PROCESS_UNITS, _FILES = 4, 6
_UNIT_TYPE, _UNIT_OPTIONS = 0, 1
_MEAN, _STD = 0, 1
_FILE_NAME, _FILE_TYPE, _FILE_LOCALE = 0, 2, 3

_NORMALISATION = 1
"""Number of NormalizationOptions in the union ProcessUnitOptions."""

_AXIS_LABELS = 2
"""AssociatedFileType.TENSOR_AXIS_LABELS: one name for each value along an axis."""

DAMAGED = (struct.error, IndexError, TypeError, ValueError)
"""Exceptions of reading a damaged flatbuffer."""

_Place = tuple[dict[str, str], str]


class LiteMetadata:
    """The metadata of a TensorFlow Lite file: a note for people and tools, which may be missing.

    Args:
        content: the file.
        model: its flatbuffer.
    """

    def __init__(self, content: bytes, model: Any) -> None:
        self._content = content
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        try:
            for graph in _graphs(model):
                self._inputs += _tables(graph, _INPUTS)
                self._outputs += _tables(graph, _OUTPUTS)
        except DAMAGED:
            # Without its metadata the user gives the options.
            self._inputs, self._outputs = [], []

    def labelled_outputs(self, count: int) -> list[int]:
        """Indices of the outputs, of `count`, that have label files."""
        return [i for i in range(count) if self._label_files(i)]

    def read(self, output: int) -> tuple[_Place, ...]:
        """Read the labels of an output and the normalisation of the input.

        Returns:
            ONNX metadata, each part with its place in the file; empty where there is none.
        """
        found: list[_Place] = []
        for name in self._label_files(output):
            if labels := self._read_labels(name):
                entry = {"labels": json.dumps(labels, ensure_ascii=False)}
                found.append((entry, f"{name} in the model, for its output"))
                break
        if pixels := self._read_normalisation():
            found.append((pixels, "the normalisation in the model's metadata"))
        return tuple(found)

    def _label_files(self, output: int) -> list[str]:
        """Names of an output's label files, those without a locale first."""
        try:
            if output >= len(self._outputs):
                return []
            files = [
                (_text(file, _FILE_LOCALE), _text(file, _FILE_NAME))
                for file in _tables(self._outputs[output], _FILES)
                if _byte(file, _FILE_TYPE) == _AXIS_LABELS
            ]
        except DAMAGED:
            return []
        return [name for _, name in sorted(files, key=lambda file: file[0])]

    def _read_labels(self, name: str) -> tuple[str, ...]:
        try:
            with zipfile.ZipFile(io.BytesIO(self._content)) as archive:
                if archive.getinfo(name).file_size > SIZE_LIMIT:
                    return ()
                return parse_labels(archive.read(name), name)
        except (zipfile.BadZipFile, KeyError, OSError, EOFError, RuntimeError, ValueError):
            # ValueError: there are no labels, or the zip gives a place before the file.
            return ()

    def _read_normalisation(self) -> dict[str, str]:
        try:
            for tensor in self._inputs:
                for unit in _tables(tensor, _PROCESS_UNITS):
                    if _byte(unit, _UNIT_TYPE) == _NORMALISATION:
                        options = Table(unit.Bytes, 0)
                        unit.Union(options, unit.Offset(4 + 2 * _UNIT_OPTIONS))
                        return _as_settings(_floats(options, _MEAN), _floats(options, _STD))
        except DAMAGED:
            pass
        return {}


def _as_settings(mean: list[float], std: list[float]) -> dict[str, str]:
    """(pixel - mean) / std as ONNX metadata: one scale and offset if all channels have the same."""
    count = max(len(mean), len(std))
    if not mean or not std or count not in (1, 3) or min(std) <= 0:
        return {}
    mean, std = (values * (count // len(values)) for values in (mean, std))
    if len(set(mean)) == len(set(std)) == 1:
        return {"color": "RGB", "scale": repr(1 / std[0]), "offset": repr(-mean[0] / std[0])}
    channels = {"channel_mean": mean, "channel_std": std}
    text = {key: ",".join(map(repr, values)) for key, values in channels.items()}
    return {"color": "RGB", "scale": "1.0", "offset": "0.0", **text}


def _graphs(model: Any) -> Iterator[Any]:
    for i in range(model.MetadataLength()):
        entry = model.Metadata(i)
        if entry.Name() == _NAME:
            buffer = bytearray(model.Buffers(entry.Buffer()).DataAsNumpy().tobytes())
            root = Table(buffer, struct.unpack_from("<I", buffer)[0])
            yield from _tables(root, _SUBGRAPHS)


def _tables(table: Any, field: int) -> list[Any]:
    offset = table.Offset(4 + 2 * field)
    return [
        Table(table.Bytes, table.Indirect(table.Vector(offset) + 4 * i))
        for i in range(table.VectorLen(offset) if offset else 0)
    ]


def _floats(table: Any, field: int) -> list[float]:
    offset = table.Offset(4 + 2 * field)
    start = table.Vector(offset) if offset else 0
    count = table.VectorLen(offset) if offset else 0
    return [table.Get(number_types.Float32Flags, start + 4 * i) for i in range(count)]


def _byte(table: Any, field: int) -> int:
    where = table.Offset(4 + 2 * field)
    return int(table.Get(number_types.Uint8Flags, where + table.Pos)) if where else 0


def _text(table: Any, field: int) -> str:
    where = table.Offset(4 + 2 * field)
    return str(table.String(where + table.Pos).decode()) if where else ""
