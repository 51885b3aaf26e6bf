# SPDX-License-Identifier: Apache-2.0
"""Keras models, SavedModels and frozen graphs become ONNX, in the converters' environment."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from convert_to_trt import converter_environments
from mask_detector_ros.classifier import Classifier
from mask_detector_ros.faces import Faces
from mask_detector_ros.inference import create_session

onnx = pytest.importorskip("onnx", reason="needs the extra `dev`")

pytestmark = [
    pytest.mark.skipif(
        not converter_environments.is_ready(),
        reason="the converters are not installed; do: make convert-env",
    ),
    # One process converts all models for the first test: a minute alone, more on a busy machine.
    pytest.mark.timeout(1200),
]

PYTHON = converter_environments.ENVIRONMENT / "bin" / "python"
SIDE = 16
USUAL = ["--labels", "with_mask,without_mask", "--preprocess", "unit"]
SAME_NETWORK = {
    "Keras 2 as .h5": "keras2.h5",
    "Keras 2 as a .model file": "keras2.model",
    "Keras 2 as .keras": "keras2.keras",
    "Keras 2 as a SavedModel named .model": "keras2_saved.model",
    "frozen graph of Keras 2": "frozen.pb",
}
CONVERTED = {
    **SAME_NETWORK,
    "Keras 1 as .h5": "keras1.h5",
    "Keras 3 as .h5": "keras3.h5",
    "Keras 3 as .keras": "keras3.keras",
    "Keras 3 exported": "keras3_exported",
    "one sigmoid": "sigmoid.h5",
    "architecture in JSON": "apart/mask.json",
    "TensorFlow Lite": "float.tflite",
    "SavedModel of a batch of one": "batch_of_one",
    "learning phase": "phase.pb",
    "rectangle": "rectangle.h5",
    "alpha channel": "alpha.h5",
    "of a graph for the browser": "fusable.h5",
    "graph for the browser": "browser_graph/model.json",
    "TensorFlow Lite, dense layer of four dimensions": "flat_dense.tflite",
}
QUANTISED = ["int8.tflite", "uint8.tflite"]
WITH_OPTIONS = {
    "logits": ("logits.h5", "--logits"),
    "free size": ("any_size.keras", "--size", str(SIDE)),
    "trusted Lambda of Keras 2": ("lambda2.h5", "--trust"),
    "trusted Lambda that calls TensorFlow": ("tensorflow2.h5", "--trust"),
    "trusted Lambda of Keras 3": ("lambda3.keras", "--trust"),
    "named ends": ("frozen.pb", "--inputs", "image", "--outputs", "Identity"),
    "one of two outputs": ("two_outputs.h5", "--outputs", "mask"),
    "scaling by itself": ("rescaling.h5", "--preprocess", "none"),
}
WRONG_USE = {
    "scaled twice, Rescaling": (("rescaling.h5",), "scales its input by itself"),
    "scaled twice, Normalization": (("normalization.h5",), "scales its input by itself"),
}
REFUSED = {
    "weights only": (("weights.h5",), "weights only"),
    "truncated": (("truncated.h5",), "damaged"),
    "truncated graph": (("truncated.pb",), "damaged"),
    "logits not said": (("logits.h5",), "add --logits"),
    "size not said": (("any_size.keras",), "--size"),
    "Lambda of Keras 2": (("lambda2.h5",), "Lambda.*--trust"),
    "Lambda of Keras 3": (("lambda3.keras",), "Lambda.*--trust"),
    "Lambda with a global": (
        ("global2.h5", "--trust"),
        "'gain' is not defined.*export a SavedModel",
    ),
    "Python in a SavedModel": (("python_saved",), "EagerPyFunc.*--trust"),
    "a file written in a SavedModel": (("writing_saved",), "WriteFile.*--trust"),
    "a checkpoint written in a graph": (("saving.pb",), "SaveV2.*--trust"),
    "vocabulary of a file": (("vocabulary/mask.json",), "StringLookup.*vocabulary.*--trust"),
    "another model loaded": (("loader/mask.json",), "load_model.*--trust"),
    "softmax of one": (("softmax_of_one.h5",), "softmax over a single value"),
    "logits of a softmax": (("keras2.h5", "--logits"), "ends in a softmax already"),
    "two outputs": (("two_outputs.h5",), r"choose one with --outputs: .*mask of \(\?, 2\)"),
    "one logit not said": (("one_logit.h5",), "without a sigmoid.*--logits"),
    "a file written by TensorFlow Lite": (("writing.tflite",), "FlexWriteFile.*--trust"),
    "SavedModel without weights": (("no_variables",), "lacks its weights; copy the folder"),
    "damaged graph for the browser": (("browser_damaged/model.json",), "is damaged.*shape"),
    "files as input": (("encoded",), r"takes encoded images.*image_bytes.*takes pixels"),
    "truncated TensorFlow Lite": (("truncated.tflite",), "damaged"),
    "weights in another file": (("linked.h5",), "takes /model_weights/dense from another file"),
    "trusted, but not for ONNX": (("python_saved", "--trust"), "ONNX lacks: EagerPyFunc"),
    "wrong name": (("frozen.pb", "--outputs", "nowhere"), "no operation 'nowhere'"),
}


def job(folder: Path, name: str, *options: str) -> list[str]:
    return [str(folder / name), "-o", str(output(folder, name, *options)), *USUAL, *options]


def output(folder: Path, *words: str) -> Path:
    return folder / ("_".join(words).replace("--", "").replace("/", "_") + ".onnx")


def python_variables() -> dict[str, str]:
    kept = {key: os.environ[key] for key in ("PATH", "HOME", "TMPDIR") if key in os.environ}
    return {**kept, "PYTHONPATH": str(converter_environments.REPOSITORY), "OMP_NUM_THREADS": "1"}


def run_command(*words) -> subprocess.CompletedProcess[str]:
    """Run the command in this environment, which changes into the converters' one."""
    return subprocess.run(
        [sys.executable, "-m", "convert_to_trt.keras_to_onnx", *map(str, words)],
        cwd=converter_environments.REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def answers(folder):
    """The command's results for all jobs, from one process, since TensorFlow starts slowly."""
    wanted = [(name,) for name in CONVERTED.values()]
    wanted += [*WITH_OPTIONS.values(), *((name,) for name in QUANTISED), ("browser/model.json",)]
    wanted += [("half.h5",)]
    wanted += [words for words, _ in (*REFUSED.values(), *WRONG_USE.values())]
    subprocess.run(
        [PYTHON, Path(__file__).with_name("make_models.py"), folder],
        input=json.dumps([job(folder, *words) for words in wanted]),
        env=python_variables(),
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads((folder / "answers.json").read_text())
    return dict(zip(wanted, found, strict=True))


def classify(path: Path) -> np.ndarray:
    """Classify one fixed crop as the node does."""
    crop = np.random.default_rng(5).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    faces = Faces([[0, 0, SIDE, SIDE]], [1], np.zeros((1, 5, 2)))
    return Classifier(create_session(path.read_bytes(), path.name))(crop, faces).probabilities


@pytest.mark.parametrize(
    "words", [*((n,) for n in CONVERTED.values()), *WITH_OPTIONS.values()], ids=" ".join
)
def test_each_format_is_converted_with_parity_for_the_node(answers, folder, words):
    answer = answers[words]
    assert answer["code"] == 0, answer["errors"]
    target = output(folder, *words)
    model = onnx.load(target)
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    assert classify(target).shape == (1, 2)
    (line,) = [line for line in answer["output"].splitlines() if "max |dp|" in line]
    assert float(line.split("max |dp|")[1].split(",")[0]) <= 1e-4


def test_one_network_gives_the_same_in_every_format(answers, folder):
    assert answers
    found = np.concatenate([classify(output(folder, name)) for name in SAME_NETWORK.values()])
    np.testing.assert_allclose(found, found[:1].repeat(len(found), 0), atol=1e-5)


@pytest.mark.parametrize("name", QUANTISED)
def test_quantised_networks_differ_by_their_rounding_only(answers, folder, name):
    answer = answers[(name,)]
    assert answer["code"] == 0, answer["errors"]
    assert "the original computes in int8" in answer["output"]
    exact = classify(output(folder, "keras2.h5"))
    np.testing.assert_allclose(classify(output(folder, name)), exact, atol=0.05)


def test_half_precision_may_round_differently(answers, folder):
    answer = answers[("half.h5",)]
    assert answer["code"] == 0, answer["errors"]
    assert "computes in half precision" in answer["output"]
    exact = classify(output(folder, "keras2.h5"))
    np.testing.assert_allclose(classify(output(folder, "half.h5")), exact, atol=0.01)


def test_labels_and_normalisation_inside_a_tflite_file_need_no_option(answers, folder, tmp_path):
    assert answers
    target = tmp_path / "out.onnx"
    done = run_command(folder / "labelled.tflite", "-o", target)
    assert done.returncode == 0, done.stderr
    assert "Sin mascarilla (without_mask), Con mascarilla (with_mask)" in done.stdout
    assert "labels from labels.txt in the model" in done.stdout
    assert "RGB, pixel * 0.00784314 + -1" in done.stdout


def test_the_metadata_of_a_tflite_file_names_output_labels_and_channels(answers, folder, tmp_path):
    """Given labels in two languages, another text, and a second output without labels."""
    assert answers
    target = tmp_path / "out.onnx"
    done = run_command(folder / "described.tflite", "-o", target)
    assert done.returncode == 0, done.stderr
    assert "labels mask (with_mask), no mask (without_mask)" in done.stdout
    assert "then minus (120, 110, 100) over (60, 58, 57) in the graph" in done.stdout
    assert "note: labels from names.txt in the model, for its output" in done.stdout
    assert "note: colour and range from the normalisation in the model's metadata" in done.stdout
    given = ["--labels", "a,b", "--mean", "120,110,100", "--std", "60,58,57", "--color", "RGB"]
    same = tmp_path / "same.onnx"
    done = run_command(folder / "described.tflite", "-o", same, *given)
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(classify(target), classify(same))


def test_a_model_for_the_browser_is_the_same_network(answers, folder):
    answer = answers[("browser/model.json",)]
    assert answer["code"] == 0, answer["errors"]
    exact = classify(output(folder, "keras2.h5"))
    # Its depthwise weights are stored in half precision.
    np.testing.assert_allclose(classify(output(folder, "browser/model.json")), exact, atol=1e-3)


def test_a_fused_graph_for_the_browser_is_the_same_network(answers, folder):
    assert answers
    found = [classify(output(folder, n)) for n in ("fusable.h5", "browser_graph/model.json")]
    np.testing.assert_allclose(*found, atol=1e-6)


def test_a_zip_of_teachable_machine_needs_no_option(answers, folder, tmp_path):
    assert answers
    target = tmp_path / "out.onnx"
    done = run_command(folder / "machine.zip", "-o", target)
    assert done.returncode == 0, done.stderr
    assert "Con mascarilla (with_mask), Sin mascarilla (without_mask)" in done.stdout
    assert "colour and range from Teachable Machine" in done.stdout
    metadata = {entry.key: entry.value for entry in onnx.load(target).metadata_props}
    assert json.loads(metadata["labels"]) == ["Con mascarilla", "Sin mascarilla"]
    assert float(metadata["scale"]) == pytest.approx(1 / 127.5)


def test_a_network_of_keras_1_computes_what_keras_1_computed(answers, folder):
    """The parity check cannot detect this: its original is the translated network."""
    assert answers
    expected = json.loads((folder / "keras1_expected.json").read_text())
    np.testing.assert_allclose(classify(output(folder, "keras1.h5"))[0], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("words", "reason", "code"),
    [
        *((words, reason, 1) for words, reason in REFUSED.values()),
        *((words, reason, 2) for words, reason in WRONG_USE.values()),
    ],
    ids=[*REFUSED, *WRONG_USE],
)
def test_what_is_refused_leaves_no_file_and_one_line(answers, folder, words, reason, code):
    answer = answers[words]
    assert answer["code"] == code
    last = answer["errors"].splitlines()[-1]
    assert last.startswith("error: ")
    assert re.search(reason, last)
    assert not output(folder, *words).exists()


def test_the_command_of_our_environment_changes_into_the_other_one(answers, folder, tmp_path):
    assert answers
    target = tmp_path / "out.onnx"
    done = run_command(folder / "keras2.h5", "-o", target, *USUAL)
    assert done.returncode == 0, done.stderr
    assert "Keras 2" in done.stdout
    steps = [line[:5] for line in done.stderr.splitlines() if not line.startswith("warning: ")]
    assert steps == ["[1/4]", "[2/4]", "[3/4]", "[4/4]"]
    assert target.exists()
