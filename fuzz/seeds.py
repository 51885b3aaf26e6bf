# SPDX-License-Identifier: Apache-2.0
"""Valid inputs from which fuzzing starts: their mutations reach further than noise."""

import json
import tempfile
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).parents[1]
CORPUS = Path(__file__).parent / "corpus"


def seeds(target: str) -> list[bytes]:
    """Valid inputs of a fuzz target to start from, and its earlier findings."""
    made = _MAKERS.get(target, lambda: [b""])()
    kept = sorted((CORPUS / target).glob("*")) if (CORPUS / target).is_dir() else []
    return [*made, *(file.read_bytes() for file in kept)]


def _images() -> list[bytes]:
    image = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    options = {".jpg": [cv2.IMWRITE_JPEG_PROGRESSIVE, 1], ".webp": [cv2.IMWRITE_WEBP_QUALITY, 80]}
    suffixes = (".jpg", ".png", ".webp", ".bmp", ".tiff", ".ppm", ".gif", ".avif")
    made = [cv2.imencode(s, image, options.get(s, []))[1].tobytes() for s in suffixes]
    return [*made, cv2.imencode(".jpg", image)[1].tobytes()]


def _messages() -> list[bytes]:
    pixels = np.arange(4 * 6 * 4, dtype=np.uint8).tobytes()
    return [bytes([kind, 4, 0, 6, 0, 24, 0, 0, 2, 0]) + pixels for kind in range(24)]


def _bags() -> list[bytes]:
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.ROS2_HUMBLE)
    kind = "sensor_msgs/msg/CompressedImage"
    stamp = store.types["builtin_interfaces/msg/Time"](sec=1, nanosec=2)
    header = store.types["std_msgs/msg/Header"](stamp=stamp, frame_id="camera")
    data = np.frombuffer(_images()[0], np.uint8)
    message = store.types[kind](header=header, format="jpeg", data=data)
    made = []
    with tempfile.TemporaryDirectory() as folder:
        for plugin in (StoragePlugin.MCAP, StoragePlugin.SQLITE3):
            path = Path(folder) / plugin.name
            with Writer(path, version=8, storage_plugin=plugin) as writer:
                connection = writer.add_connection("/image/compressed", kind, typestore=store)
                writer.write(connection, 1, store.serialize_cdr(message, kind))
            made += [f.read_bytes() for f in path.iterdir() if f.suffix in (".mcap", ".db3")]
    return made


def _tables() -> list[bytes]:
    return [
        b"file,xmin,ymin,xmax,ymax,label,split\na.jpg,1,2,30,40,with_mask,val\n",
        b"\xef\xbb\xbffile,xmin,ymin,xmax,ymax,label\n../../etc/passwd,nan,1e999,-5,,x\n",
    ]


def _annotations() -> list[bytes]:
    return [
        b"<annotation><filename>a.jpg</filename><object><name>with_mask</name><bndbox>"
        b"<xmin>1</xmin><ymin>2</ymin><xmax>3</xmax><ymax>4</ymax></bndbox></object></annotation>",
        b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation><filename>&x;'
        b"</filename></annotation>",
    ]


def _manifests() -> list[bytes]:
    whole = (ROOT / "models" / "models.yaml").read_bytes()
    return [whole, b"models: [{name: x}]", b"models: &a [*a]"]


def _metadata() -> list[bytes]:
    good = {
        "labels": '["with_mask", "without_mask"]',
        "roles": '["with_mask", "without_mask"]',
        "margin": "0.1",
        "color": "BGR",
        "layout": "NHWC",
        "scale": "1",
        "offset": "0",
    }
    return [json.dumps(good).encode(), json.dumps({**good, "margin": "nan"}).encode()]


def _networks() -> list[bytes]:
    return [(ROOT / "models" / "pnet.onnx").read_bytes()]


def _keras() -> list[bytes]:
    layer = {"class_name": "Dense", "config": {"units": 2, "activation": "softmax", "name": "d"}}
    model = {"class_name": "Sequential", "config": {"name": "m", "layers": [layer]}}
    old = {"class_name": "Sequential", "config": [layer], "keras_version": "1.2.2"}
    code = {"class_name": "Lambda", "config": {"function": ["4wEAAAA=", None, None]}}
    evil = {"class_name": "Sequential", "config": {"layers": [code]}}
    return [json.dumps(some).encode() for some in (model, old, evil)]


def _urls() -> list[bytes]:
    return [
        b"rtsp://user:pass@host:554/stream?password=x",
        b"file:///a/b.jpg",
        b"http://[::1]/x?token=a&b=c",
    ]


def _answers() -> list[bytes]:
    from tritonclient.grpc import model_config_pb2, service_pb2

    config = model_config_pb2.ModelConfig(name="name")
    config.input.add(name="image", data_type="TYPE_UINT8", dims=(-1, -1, 3))
    answer = service_pb2.ModelInferResponse(model_name="name", model_version="1")
    shapes = {"boxes": (2, 4), "scores": (2,), "landmarks": (2, 5, 2), "probabilities": (2, 2)}
    for name, shape in {**shapes, "dropped": (1,)}.items():
        config.output.add(name=name, data_type="TYPE_FP32", dims=shape)
        answer.outputs.add(name=name, datatype="FP32", shape=shape)
        answer.raw_output_contents.append(np.full(shape, 0.5, np.float32).tobytes())
    config.parameters["labels"].string_value = '["with_mask", "without_mask"]'
    deep = model_config_pb2.ModelConfig.FromString(config.SerializeToString())
    deep.parameters["labels"].string_value = "[" * 100_000
    configs = [each.SerializeToString() for each in (config, deep)]
    return [*(b"c" + each for each in configs), b"a" + answer.SerializeToString()]


_MAKERS = {
    "server_answer": _answers,
    "compressed_image": _images,
    "image_message": _messages,
    "bag": _bags,
    "label_csv": _tables,
    "label_xml": _annotations,
    "models_yaml": _manifests,
    "onnx_metadata": _metadata,
    "onnx_file": _networks,
    "keras_config": _keras,
    "url": _urls,
}
