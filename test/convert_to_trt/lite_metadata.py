# SPDX-License-Identifier: Apache-2.0
"""Metadata of a TensorFlow Lite file, as TensorFlow's metadata writer makes it.

Source of the fields: tensorflow/lite/support/metadata/metadata_schema.fbs.
"""

from pathlib import Path

import flatbuffers
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils


def write_normalisation(path: Path, mean: list[float], std: list[float]) -> None:
    """Add to a file's metadata that its input is (pixel - mean) / std."""
    model = flatbuffer_utils.read_model(str(path))
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = list(_metadata(mean, std))
    entry.name, entry.buffer = "TFLITE_METADATA", len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or []), entry]
    flatbuffer_utils.write_model(model, str(path))


def _metadata(mean: list[float], std: list[float]) -> bytes:
    builder = flatbuffers.Builder()

    def table(**fields: int) -> int:
        """A table: offsets by the number of their field, such as `f2`; `kind` is a byte in 0."""
        builder.StartObject(8)
        if kind := fields.pop("kind", 0):
            builder.PrependUint8Slot(0, kind, 0)
        for name, offset in fields.items():
            builder.PrependUOffsetTRelativeSlot(int(name[1:]), offset, 0)
        return builder.EndObject()

    def tables(*offsets: int) -> int:
        builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            builder.PrependUOffsetTRelative(offset)
        return builder.EndVector()

    def floats(values: list[float]) -> int:
        builder.StartVector(4, len(values), 4)
        for value in reversed(values):
            builder.PrependFloat32(value)
        return builder.EndVector()

    normalisation = table(f0=floats(mean), f1=floats(std))
    tensor = table(f4=tables(table(kind=1, f1=normalisation)))
    graph = table(f2=tables(tensor))
    builder.Finish(table(f0=builder.CreateString("mask"), f3=tables(graph)), b"M001")
    return bytes(builder.Output())
