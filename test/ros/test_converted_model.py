# SPDX-License-Identifier: Apache-2.0
"""A user's mask classifier: converted by the command, run by the node by its parameter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: run `make setup`")

from detector_client import NODE, make_image
from onnx import TensorProto, helper, numpy_helper
from rclpy.qos import DurabilityPolicy, QoSProfile
from ros_graph import ROOT
from sensor_msgs.msg import Image
from vision_msgs.msg import Detection2DArray, LabelInfo
from waiting import wait_until

from convert_to_trt import converter_environments
from mask_detector_ros import MaskDetector

# One process converts all models for the first test: half a minute alone, more on a busy machine.
pytestmark = pytest.mark.timeout(900)

LABELS = ["warm", "cold"]
OPTIONS = ("--labels", ",".join(LABELS), "--preprocess", "unit")


def save_onnx(path: Path) -> None:
    """Save a network as another tool would: no metadata; "warm" where there is more red than
    blue."""
    kernel = np.float32([[9, 0, -9], [-9, 0, 9]])[:, :, None, None]
    nodes = [
        helper.make_node("Transpose", ["image"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("GlobalAveragePool", ["planes"], ["means"]),
        helper.make_node("Conv", ["means", "kernel"], ["sums"]),
        helper.make_node("Flatten", ["sums"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["out"]),
    ]
    ends = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)]
        for name, shape in (("image", ["n", 32, 32, 3]), ("out", ["n", 2]))
    ]
    graph = helper.make_graph(nodes, "own", *ends, [numpy_helper.from_array(kernel, "kernel")])
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)


FORMS = {
    "Keras HDF5": "keras2.h5",
    "Keras archive": "keras2.keras",
    "SavedModel": "keras2_saved",
    "frozen graph": "frozen.pb",
    "TensorFlow Lite": "float.tflite",
    "TensorFlow Lite, int8": "int8.tflite",
    "Teachable Machine": "machine.zip",
}

CONVERT = """
import json, sys
from pathlib import Path
import make_models

folder = Path(sys.argv[1])
model = make_models.classifier(make_models.tf_keras)
model.save(folder / "keras2.h5")
model.save(folder / "keras2.keras")
model.save(folder / "keras2_saved", save_format="tf")
make_models.write_frozen_graph(model, folder / "frozen.pb")
make_models.write_other_containers(folder, model)
answers = [make_models.answer(job) for job in json.load(sys.stdin)]
sys.exit("\\n".join(answer["errors"] for answer in answers if answer["code"]) or 0)
"""


@pytest.fixture(scope="module")
def keras_models(tmp_path_factory: Any) -> Path:
    """One Keras network in all of FORMS, each converted in the environment of the converters."""
    if not converter_environments.is_ready():
        pytest.skip("the converters are not installed; do: make convert-env")
    folder = tmp_path_factory.mktemp("models")
    jobs = [
        [str(folder / name), "-o", str(folder / f"{name}.onnx"), *OPTIONS]
        for name in FORMS.values()
    ]
    paths = (ROOT, ROOT / "test" / "convert_to_trt")
    done = subprocess.run(
        [converter_environments.ENVIRONMENT / "bin" / "python", "-c", CONVERT, folder],
        input=json.dumps(jobs),
        env={
            **converter_environments.clean_variables(),
            "PYTHONPATH": os.pathsep.join(map(str, paths)),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(params=["ONNX", *FORMS])
def converted(request: Any, tmp_path: Path) -> Path:
    """The ONNX file that keras_to_onnx made."""
    if request.param != "ONNX":
        folder: Path = request.getfixturevalue("keras_models")
        return folder / f"{FORMS[request.param]}.onnx"
    source, target = tmp_path / "own.onnx", tmp_path / "converted.onnx"
    save_onnx(source)
    command = [sys.executable, "-m", "convert_to_trt.keras_to_onnx", source, "-o", target]
    done = subprocess.run(
        [*command, *OPTIONS], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return target


def test_the_node_labels_faces_with_it(graph: Any, converted: Path, portrait: np.ndarray) -> None:
    # More red than blue in every face: the order of colours and labels shows.
    reddish = cv2.add(portrait, np.array([0, 0, 60, 0], np.float64))
    graph.start("mask_detector_node", threads=1, tracking=False, classifier_model=converted)
    client = graph.client()
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    infos = client.listen(LabelInfo, f"{NODE}/label_info", latched)
    detections = client.listen(Detection2DArray, f"{NODE}/detections")
    images = client.advertise(Image, "/image_raw", 10)
    message = make_image(reddish)
    wait_until(lambda: images.publish(message) or (infos and detections), what="both results")
    assert [label.class_name for label in infos[0].class_map] == LABELS
    (detection,) = detections[0].detections
    told = {result.hypothesis.class_id: result.hypothesis.score for result in detection.results}
    faces = MaskDetector.load(threads=1, classifier_model=str(converted))(reddish)
    wanted = dict(zip(LABELS, faces.probabilities[0].tolist(), strict=True))
    assert told == pytest.approx(wanted, abs=1e-4)
    if converted.with_name("own.onnx").exists():
        assert told["warm"] > 0.9
