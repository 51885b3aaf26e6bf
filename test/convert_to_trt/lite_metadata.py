# SPDX-License-Identifier: Apache-2.0
"""Metadata of a TensorFlow Lite file, as TensorFlow's metadata writer makes it.

Source of the fields: tensorflow/lite/support/metadata/metadata_schema.fbs.
"""

from pathlib import Path

import flatbuffers
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils


def write_metadata(path: Path, mean: list[float], std: list[float], outputs=()) -> None:
    """Add metadata to a file.

    Args:
        path: the file.
        mean, std: its input is (pixel - mean) / std.
        outputs: the label files of each output, by locale; "" is for all others.
    """
    model = flatbuffer_utils.read_model(str(path))
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = list(_metadata(mean, std, outputs))
    entry.name, entry.buffer = "TFLITE_METADATA", len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or []), entry]
    flatbuffer_utils.write_model(model, str(path))


def _metadata(mean: list[float], std: list[float], outputs) -> bytes:
    builder = flatbuffers.Builder()

    def table(bytes_by_field=(), **fields: int) -> int:
        """A table: bytes, and offsets by the number of their field, such as `f2`."""
        builder.StartObject(8)
        for number, value in bytes_by_field:
            builder.PrependUint8Slot(number, value, 0)
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

    def label_file(locale: str, name: str) -> int:
        texts = {"f0": builder.CreateString(name)}
        if locale:
            texts["f3"] = builder.CreateString(locale)
        return table([(2, 2)], **texts)

    def output(files: dict[str, str]) -> int:
        return table(f6=tables(*(label_file(*file) for file in files.items())))

    normalisation = table(f0=floats(mean), f1=floats(std))
    tensor = table(f4=tables(table([(0, 1)], f1=normalisation)))
    graph = table(f2=tables(tensor), f3=tables(*map(output, outputs)))
    builder.Finish(table(f0=builder.CreateString("mask"), f3=tables(graph)), b"M001")
    return bytes(builder.Output())
