# SPDX-License-Identifier: Apache-2.0
"""Fuzz targets: each takes bytes and must return or raise an error of this package.

Anything else is a finding: another exception, a crash, a result beyond the limits, or a hang.
"""

import contextlib
import functools
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from convert_to_trt.keras1 import translate_keras1
from convert_to_trt.keras_code_check import find_keras_code, reject_keras_code
from convert_to_trt.model_files import parse_json
from mask_detector_ros.bags.reading import open_bag
from mask_detector_ros.classifier import Classifier
from mask_detector_ros.errors import MaskDetectorError
from mask_detector_ros.evaluation.label_files import read_labels
from mask_detector_ros.imaging import encodings
from mask_detector_ros.inference import create_session
from mask_detector_ros.inference.session import TensorInfo
from mask_detector_ros.models import parse_manifest
from mask_detector_ros.mtcnn.detection_settings import DetectionSettings
from mask_detector_ros.mtcnn.single_file_cascade import CascadeGraph
from mask_detector_ros.redaction import hide_passwords, without_password
from mask_detector_ros.sources.urls import file_of_url

MAX_PIXELS = 200_000

TARGETS: dict[str, Callable[[bytes], None]] = {}
"""The fuzz targets by name."""


def target(function: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """Register a fuzz target that may raise the errors by which this package rejects bad input."""

    @functools.wraps(function)
    def run(data: bytes) -> None:
        with contextlib.suppress(MaskDetectorError):
            function(data)

    TARGETS[function.__name__] = run
    return run


@target
def compressed_image(data: bytes) -> None:
    """Fuzz target: decode a `sensor_msgs/CompressedImage`."""
    image = encodings.decode_compressed(data, "jpeg", MAX_PIXELS)
    assert image.shape[0] * image.shape[1] <= MAX_PIXELS


@target
def image_message(data: bytes) -> None:
    """Fuzz target: decode a `sensor_msgs/Image`; the first bytes set its fields."""
    head, pixels = data[:10].ljust(10, b"\0"), data[10:]
    names = (*encodings.READABLE_ENCODINGS, "32FC1", "")
    message = SimpleNamespace(
        encoding=names[head[0] % len(names)],
        height=int.from_bytes(head[1:3], "little") >> (head[9] & 15),
        width=int.from_bytes(head[3:5], "little") >> (head[9] >> 4),
        step=int.from_bytes(head[5:8], "little"),
        is_bigendian=head[8] & 1,
        data=pixels,
    )
    if head[8] & 2 and message.height:  # match the length, to get past that check
        message.step = len(pixels) // message.height
        message.data = pixels[: message.step * message.height]
    image = encodings.decode_image(message, MAX_PIXELS)
    assert image.shape == (message.height, message.width, 3)


@target
def bag(data: bytes) -> None:
    """Fuzz target: read a bag file of any kind."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.mcap"
        path.write_bytes(data)
        with open_bag(path) as reader:
            topics = [channel.topic for channel in reader.channels]
            for _ in reader.messages(topics):
                pass


@target
def label_csv(data: bytes) -> None:
    """Fuzz target: read a CSV table of labels."""
    _labels("labels.csv", data)


@target
def label_xml(data: bytes) -> None:
    """Fuzz target: read a PASCAL VOC annotation."""
    _labels("a.xml", data)


def _labels(name: str, data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / name).write_bytes(data)
        labels = read_labels(Path(folder), None)
        root = Path(folder).resolve()
        assert all(row.image.resolve().is_relative_to(root) for row in labels.rows)


@target
def models_yaml(data: bytes) -> None:
    """Fuzz target: read the model manifest."""
    parse_manifest(data)


@target
def onnx_metadata(data: bytes) -> None:
    """Fuzz target: read the metadata of a classifier file."""
    try:
        metadata = json.loads(data)
    except (ValueError, RecursionError):
        return
    if not isinstance(metadata, dict):
        return
    dtype = np.dtype(np.float32)
    session = SimpleNamespace(
        name="fuzzed",
        inputs=(TensorInfo("x", dtype, (-1, 32, 32, 3)),),
        outputs=(TensorInfo("y", dtype, (-1, 2)),),
        metadata={str(key): str(value) for key, value in metadata.items()},
    )
    Classifier(session)  # type: ignore[arg-type]


@target
def onnx_file(data: bytes) -> None:
    """Fuzz target: load an ONNX model file."""
    create_session(data, "fuzzed", "onnxruntime", 1)


@target
def keras_config(data: bytes) -> None:
    """Fuzz target: read the architecture of a Keras model; code in it must be detected."""
    try:
        config = parse_json(data)
    except (ValueError, RecursionError):  # as `read_json` has it
        return
    if isinstance(config, dict):
        list(find_keras_code(config))
        reject_keras_code(config, "fuzzed")
        translate_keras1(config, "fuzzed")


@target
def url(data: bytes) -> None:
    """Fuzz target: parse the name of a source; its password must not be shown."""
    text = data.decode(errors="surrogateescape")
    with contextlib.suppress(MaskDetectorError):
        file_of_url(text)
    without_password(text)
    hide_passwords(text)
    name = "".join(c for c in text if c.isalnum())[:20] or "x"
    shown = without_password(f"rtsp://user:geheim{name}@host/{name}")
    assert f"geheim{name}" not in shown


@target
def server_answer(data: bytes) -> None:
    """Fuzz target: read an inference server's model description or answer; the first byte selects
    which."""
    from google.protobuf.message import DecodeError
    from tritonclient.grpc import model_config_pb2, service_pb2

    from mask_detector_ros.inference.triton.served_model import OUTPUTS, ServedModel, read_config
    from mask_detector_ros.inference.triton.session import read_answer

    is_config = data[:1] == b"c"
    kind = model_config_pb2.ModelConfig if is_config else service_pb2.ModelInferResponse
    try:
        message = kind.FromString(data[1:])
    except DecodeError:
        return
    if is_config:
        assert read_config(message, "name:1", "fuzzed").labels
        return
    labels = ("with_mask", "without_mask")
    model = ServedModel("name", "1", -1, -1, True, False, (), labels, labels, "", {}, None)
    out = read_answer(message, model, "fuzzed")
    session = SimpleNamespace(
        name="fuzzed",
        metadata={"cascade": json.dumps({"labels": labels, "height": -1, "width": -1})},
        inputs=(TensorInfo("image", np.dtype(np.uint8), (-1, -1, 3)),),
        outputs=[SimpleNamespace(name=name) for name in (*OUTPUTS, "dropped")],
        configure=lambda settings: None,
        run=lambda **_: out,
    )
    graph = CascadeGraph(session)  # type: ignore[arg-type]
    faces = graph(np.zeros((8, 8, 3), np.uint8), DetectionSettings(20, 0.7, (0, 0, 0), 9))
    assert len(faces) <= 9
    assert np.isfinite(faces.boxes).all()
