# SPDX-License-Identifier: Apache-2.0
"""Small classifiers in every format, and jobs for the command: runs in .venv/convert.

python make_models.py FOLDER < jobs.json: writes the models into FOLDER, then runs
keras_to_onnx once for each list of arguments, in this one process, and writes answers.json.
"""

import contextlib
import io
import json
import os
import shutil
import sys
import zipfile
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import h5py
import keras
import numpy as np
import tensorflow as tf
import tf_keras
from keras1_models import SIDE, keras1_probabilities, write_keras1
from lite_metadata import write_metadata
from make_browser_models import write_browser_graph, write_browser_model
from make_graphs import write_phase_graph, write_python_saved_model, write_reaching_graphs
from tensorflow.lite.tools import flatbuffer_utils
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from convert_to_trt.keras_to_onnx import main

FULLY_CONNECTED, RESHAPE = 9, 22
"""Numbers of TensorFlow Lite's BuiltinOperator."""


def classifier(library, last="softmax", units=2, extra=(), side=SIDE):
    """A network whose batch normalisation is not the identity, in Keras 2 or 3."""
    library.utils.set_random_seed(0)
    layers = library.layers
    model = library.Sequential(
        [
            library.Input((side, side, 3)),
            layers.Conv2D(4, 3, strides=2, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(6.0),
            layers.DepthwiseConv2D(3, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            *extra,
            layers.GlobalAveragePooling2D(),
            layers.Dropout(0.5),
            layers.Dense(units, activation=last, kernel_initializer="random_normal"),
        ]
    )
    chance = np.random.default_rng(0)
    weights = [w + chance.uniform(0.1, 0.5, w.shape) for w in model.get_weights()]
    model.set_weights(weights)
    return model


def write_lambda_with_a_global(path: Path) -> None:
    globals()["gain"] = 2.0
    extra = [tf_keras.layers.Lambda(lambda x: x * gain)]  # noqa: F821
    classifier(tf_keras, extra=extra).save(path)
    extra = [tf_keras.layers.Lambda(lambda x: tf.nn.relu(x))]
    classifier(tf_keras, extra=extra).save(path.with_name("tensorflow2.h5"))
    del globals()["gain"]


def write_models(folder: Path) -> None:
    keras2, keras3 = classifier(tf_keras), classifier(keras)
    keras2.save(folder / "keras2.h5")
    shutil.copyfile(folder / "keras2.h5", folder / "keras2.model")
    keras2.save(folder / "keras2.keras")
    keras2.save(folder / "keras2_saved.model", save_format="tf")
    keras3.save(folder / "keras3.h5")
    keras3.save(folder / "keras3.keras")
    keras3.export(folder / "keras3_exported", verbose=False)
    shutil.copytree(folder / "keras3_exported", folder / "no_variables")
    shutil.rmtree(folder / "no_variables" / "variables")
    keras2.save_weights(folder / "weights.h5")
    classifier(tf_keras, last=None).save(folder / "logits.h5")
    classifier(tf_keras, "sigmoid", 1).save(folder / "sigmoid.h5")
    classifier(keras, side=None).save(folder / "any_size.keras")
    for library, name in ((tf_keras, "lambda2.h5"), (keras, "lambda3.keras")):
        extra = [library.layers.Lambda(lambda x: x * 2)]
        classifier(library, extra=extra).save(folder / name)
    write_lambda_with_a_global(folder / "global2.h5")
    write_frozen_graph(keras2, folder / "frozen.pb")
    write_python_saved_model(folder / "python_saved")
    write_keras1(folder / "keras1.h5")
    write_other_containers(folder, keras2)
    write_faults(folder)
    for name in ("keras2.h5", "frozen.pb"):
        content = (folder / name).read_bytes()
        truncated = folder / f"truncated{Path(name).suffix}"
        truncated.write_bytes(content[: len(content) // 2])
    expected = keras1_probabilities(folder / "keras1.h5").tolist()
    (folder / "keras1_expected.json").write_text(json.dumps(expected))


def write_frozen_graph(model, path: Path) -> None:
    specification = tf.TensorSpec([1, SIDE, SIDE, 3], tf.float32, name="image")
    function = tf.function(lambda x: model(x, training=False))
    frozen = convert_variables_to_constants_v2(function.get_concrete_function(specification))
    path.write_bytes(frozen.graph.as_graph_def().SerializeToString())


def write_other_containers(folder: Path, model) -> None:
    """Write the network as TensorFlow Lite, as JSON with weights, as TensorFlow.js, and in zips."""
    (folder / "apart").mkdir()
    (folder / "apart" / "mask.json").write_text(model.to_json())
    model.save_weights(folder / "apart" / "mask.h5")
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    (folder / "float.tflite").write_bytes(converter.convert())
    for name, element in (("int8.tflite", tf.int8), ("uint8.tflite", tf.uint8)):
        (folder / name).write_bytes(quantise(model, element))
    with zipfile.ZipFile(folder / "machine.zip", "w") as archive:
        archive.write(folder / "keras2.h5", "keras_model.h5")
        archive.writestr("labels.txt", "0 Con mascarilla\n1 Sin mascarilla\n")
    write_browser_model(folder / "browser", model)
    layers = tf_keras.layers
    body = [layers.Conv2D(4, 3, activation="relu"), layers.DepthwiseConv2D(3)]
    body += [layers.ReLU(6.0), layers.GlobalAveragePooling2D(), layers.Dense(2, "softmax")]
    fusable = tf_keras.Sequential([tf_keras.Input((SIDE, SIDE, 3)), *body])
    fusable.set_weights([w + 0.1 for w in fusable.get_weights()])
    fusable.save(folder / "fusable.h5")
    write_browser_graph(folder / "browser_graph", fusable)
    shutil.copytree(folder / "browser_graph", folder / "browser_damaged")
    content = json.loads((folder / "browser_graph" / "model.json").read_text())
    del content["weightsManifest"][0]["weights"][0]["shape"]
    (folder / "browser_damaged" / "model.json").write_text(json.dumps(content))


def quantise(model, element) -> bytes:
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    chance = np.random.default_rng(0)
    crops = chance.uniform(0, 1, (50, 1, SIDE, SIDE, 3)).astype(np.float32)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([crop] for crop in crops)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = element
    return converter.convert()


def write_faults(folder: Path) -> None:
    rescaled = [tf_keras.layers.Rescaling(1 / 255), tf_keras.layers.Normalization()]
    for name, first in zip(("rescaling.h5", "normalization.h5"), rescaled, strict=True):
        if name == "normalization.h5":
            chance = np.random.default_rng(0)
            first.adapt(chance.uniform(0, 255, (64, SIDE, SIDE, 3)).astype(np.float32))
        inner = classifier(tf_keras)
        tf_keras.Sequential([tf_keras.Input((SIDE, SIDE, 3)), first, inner]).save(folder / name)
    constant = classifier(tf_keras, "softmax", 1)
    constant.save(folder / "softmax_of_one.h5")
    box = constant.layers[-2].output
    mask = tf_keras.layers.Dense(2, "softmax", name="mask")(box)
    two = tf_keras.Model(constant.input, {"box": box, "mask": mask})
    two.save(folder / "two_outputs.h5")
    fixed = classifier(tf_keras)
    function = tf.function(lambda x: {"out": fixed(x, training=False)})
    signature = function.get_concrete_function(tf.TensorSpec([1, SIDE, SIDE, 3], name="image"))
    tf.saved_model.save(fixed, folder / "batch_of_one", signatures=signature)
    write_phase_graph(folder / "phase.pb")
    write_encoded_input(folder / "encoded")
    write_shapes_and_types(folder)
    shutil.copyfile(folder / "keras2.h5", folder / "linked.h5")
    with h5py.File(folder / "linked.h5", "r+") as file:
        del file["model_weights/dense"]
        file["model_weights/dense"] = h5py.ExternalLink("keras2.h5", "/model_weights/dense")
    write_lite_faults(folder)
    write_reaching_graphs(folder)
    architecture = json.loads(classifier(tf_keras).to_json())
    for wanted, (kind, config) in {
        "vocabulary": ("StringLookup", {"vocabulary": "/etc/passwd"}),
        "loader": ("load_model", {"filepath": "/tmp/other.keras"}),
    }.items():
        entry = {"class_name": kind, "module": "keras.models", "config": config}
        layers = {**architecture["config"], "layers": [*architecture["config"]["layers"], entry]}
        part = folder / wanted
        part.mkdir()
        (part / "mask.json").write_text(json.dumps({**architecture, "config": layers}))
        (part / "mask.h5").write_bytes((folder / "weights.h5").read_bytes())


def write_shapes_and_types(folder: Path) -> None:
    """Write networks with a rectangle, an alpha channel, half precision, and a logit between 0 and
    1."""
    layers = tf_keras.layers
    for name, shape in (("rectangle.h5", (12, SIDE, 3)), ("alpha.h5", (SIDE, SIDE, 4))):
        body = [layers.Conv2D(4, 3), layers.Flatten(), layers.Dense(2, "softmax")]
        tf_keras.Sequential([tf_keras.Input(shape), *body]).save(folder / name)
    classifier(tf_keras, last=None, units=1).save(folder / "one_logit.h5")
    tf_keras.mixed_precision.set_global_policy("mixed_float16")
    classifier(tf_keras).save(folder / "half.h5")
    tf_keras.mixed_precision.set_global_policy("float32")


def write_encoded_input(path: Path) -> None:
    """Write a SavedModel that decodes JPEG files by itself."""

    @tf.function(input_signature=[tf.TensorSpec([1], tf.string, "image_bytes")])
    def call(files):
        image = tf.cast(tf.io.decode_jpeg(files[0], 3), tf.float32)
        return {"scores": tf.nn.softmax(tf.reduce_mean(image, [0, 1]))[None]}

    module = tf.Module()
    module.call = call
    tf.saved_model.save(module, path, signatures=call)


def write_lite_faults(folder: Path) -> None:
    """Write a TensorFlow Lite file that contains labels, and one that writes a file."""
    labelled = folder / "labelled.tflite"
    shutil.copyfile(folder / "float.tflite", labelled)
    write_metadata(labelled, [127.5], [127.5])
    with zipfile.ZipFile(labelled, "a") as archive:
        archive.writestr("labels.txt", "Sin mascarilla\nCon mascarilla\n")

    described = folder / "described.tflite"
    described.write_bytes(tf.lite.TFLiteConverter.from_keras_model(two_heads()).convert())
    files = {"mask": {"de": "de.txt", "": "names.txt"}, "features": {}}
    labels = [files[name] for name in output_names(described)]
    write_metadata(described, [120.0, 110.0, 100.0], [60.0, 58.0, 57.0], labels)
    with zipfile.ZipFile(described, "a") as archive:
        archive.writestr("about.txt", "made\nin the test\n")
        archive.writestr("de.txt", "mit\nohne\n")
        archive.writestr("names.txt", "mask\nno mask\n")
    write_flat_dense(folder / "flat_dense.tflite")

    class Writing(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([1, SIDE, SIDE, 3], tf.float32)])
        def call(self, images):
            tf.io.write_file("/tmp/reached", "x")
            return tf.nn.softmax(tf.reduce_mean(images, [1, 2])[:, :2])

    module = Writing()
    functions = [module.call.get_concrete_function()]
    converter = tf.lite.TFLiteConverter.from_concrete_functions(functions, module)
    sets = tf.lite.OpsSet
    converter.target_spec.supported_ops = [sets.TFLITE_BUILTINS, sets.SELECT_TF_OPS]
    (folder / "writing.tflite").write_bytes(converter.convert())
    content = (folder / "float.tflite").read_bytes()
    (folder / "truncated.tflite").write_bytes(content[: len(content) // 2])


def two_heads():
    """A network with a second output, the features."""
    layers = tf_keras.layers
    image = tf_keras.Input((SIDE, SIDE, 3))
    features = layers.GlobalAveragePooling2D(name="features")(layers.Conv2D(4, 3)(image))
    mask = layers.Dense(2, "softmax", name="mask")(features)
    return tf_keras.Model(image, {"features": features, "mask": mask})


def output_names(path: Path) -> list[str]:
    details = tf.lite.Interpreter(str(path)).get_output_details()
    width = {2: "mask", 4: "features"}
    return [width[int(detail["shape"][-1])] for detail in details]


def write_flat_dense(path: Path) -> None:
    """Write a dense layer that takes (N, 1, 1, C), as in exports of Custom Vision."""
    layers = tf_keras.layers
    body = [layers.AveragePooling2D(SIDE), layers.Flatten()]
    last = layers.Dense(2, "softmax", bias_initializer="random_normal")
    model = tf_keras.Sequential([tf_keras.Input((SIDE, SIDE, 3)), *body, last])
    path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
    whole = flatbuffer_utils.read_model(str(path))
    graph = whole.subgraphs[0]
    by_code = {whole.operatorCodes[op.opcodeIndex].builtinCode: op for op in graph.operators}
    flatten, dense = by_code[RESHAPE], by_code[FULLY_CONNECTED]
    dense.inputs[0] = flatten.inputs[0]
    graph.operators.remove(flatten)
    flatbuffer_utils.write_model(whole, str(path))


def answer(arguments: list[str]) -> dict[str, object]:
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        try:
            code = main(arguments)
        except SystemExit as stop:
            code = stop.code
    return {"code": code, "output": output.getvalue(), "errors": errors.getvalue()}


if __name__ == "__main__":
    write_models(Path(sys.argv[1]))
    answers = [answer(arguments) for arguments in json.load(sys.stdin)]
    (Path(sys.argv[1]) / "answers.json").write_text(json.dumps(answers))
