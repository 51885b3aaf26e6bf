# SPDX-License-Identifier: Apache-2.0
"""ONNX files are adapted to the node; this needs no TensorFlow."""

import json
import re

import cv2
import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="needs the extra `dev`")
from onnx import helper, numpy_helper  # noqa: E402
from onnx_networks import SIDE, USUAL, between, classify, network, read_metadata  # noqa: E402

from convert_to_trt.keras_to_onnx import main  # noqa: E402
from mask_detector_ros.classifier import Classifier  # noqa: E402
from mask_detector_ros.faces import Faces  # noqa: E402
from mask_detector_ros.inference import create_session  # noqa: E402
from mask_detector_ros.models import models_directory, read_manifest  # noqa: E402


def without_shape(model, first="Identity"):
    """Leave all sides of the input open, and insert a first operation."""
    for dim in model.graph.input[0].type.tensor_type.shape.dim:
        dim.Clear()
    model.graph.node.insert(0, helper.make_node(first, ["image"], ["same"]))
    model.graph.node[1].input[0] = "same"
    return model


@pytest.mark.parametrize("nchw", [False, True], ids=["NHWC", "NCHW"])
def test_the_first_operations_tell_the_layout_where_the_shape_does_not(convert, nchw):
    for model in (network(nchw=nchw, side=3), without_shape(network(nchw=nchw))):
        code, _, err, target = convert(model, *USUAL, "--size", "3")
        assert code == 0, err
        assert read_metadata(target)["layout"] == ("NCHW" if nchw else "NHWC")


@pytest.mark.parametrize("nchw", [False, True], ids=["NHWC", "NCHW"])
@pytest.mark.parametrize("batch", [0, 1, 3], ids=["any batch", "batch of 1", "batch of 3"])
def test_the_result_takes_any_batch_and_equals_the_original(convert, nchw, batch):
    code, out, err, target = convert(network(nchw=nchw, batch=batch), *USUAL)
    assert code == 0, err
    assert "same label 100.0%" in out
    classifier = Classifier(create_session(target.read_bytes(), "out"))
    assert classifier.label_names == ("with_mask", "without_mask")
    model = onnx.load(target)
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert metadata["layout"] == ("NCHW" if nchw else "NHWC")
    assert metadata["input_size"] == str(SIDE)


def test_the_progress_goes_to_stderr_and_the_report_may_be_json(convert):
    code, out, err, _ = convert(network(), *USUAL, "--json")
    assert code == 0
    report = json.loads(out)
    assert report["labels"] == ["with_mask", "without_mask"]
    assert report["parity"]["largest"] < 1e-5
    assert [line[:5] for line in err.splitlines()] == ["[1/4]", "[2/4]", "[3/4]", "[4/4]"]


def test_a_file_that_says_all_itself_needs_no_options_and_may_be_converted_again(tmp_path, capsys):
    shipped = models_directory() / "mask_classifier.onnx"
    once, twice = tmp_path / "once.onnx", tmp_path / "twice.onnx"
    assert main([str(shipped), "-o", str(once)]) == 0
    assert main([str(once), "-o", str(twice)]) == 0, capsys.readouterr().err
    classifier = Classifier(create_session(twice.read_bytes(), "twice"))
    assert classifier.label_names == read_manifest()["mask_classifier"].labels


def test_missing_softmax_is_named_and_can_be_added(convert):
    model = network(last="Identity", columns=3)
    options = ["--labels", "a,b,c", "--preprocess", "unit"]
    code, _, err, target = convert(model, *options)
    assert code == 1
    assert "add --logits" in err
    assert not target.exists()
    assert convert(model, *options, "--logits")[0] == 0


def test_one_sigmoid_output_becomes_two_probabilities(convert):
    code, _, err, target = convert(network(last="Sigmoid", columns=1), *USUAL)
    assert code == 0, err
    faces = Faces([[0, 0, SIDE, SIDE]], [1], np.zeros((1, 5, 2)))
    image = np.full((SIDE, SIDE, 3), 200, np.uint8)
    result = Classifier(create_session(target.read_bytes(), "out"))(image, faces)
    assert result.probabilities.shape == (1, 2)
    assert result.probabilities.sum() == pytest.approx(1)


def test_two_sigmoids_are_divided_by_their_sum_and_that_is_said(convert):
    code, out, err, target = convert(network(last="Sigmoid"), *USUAL)
    assert code == 0, err
    assert "ends in 2 sigmoids" in out
    assert classify(target).sum() == pytest.approx(1)


def test_a_size_that_is_free_must_be_said(convert):
    code, _, err, _ = convert(network(side=None), *USUAL)
    assert code == 1
    assert "--size" in err
    assert convert(network(side=None), *USUAL, "--size", "16")[0] == 0


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--labels", "a,b,c", "--preprocess", "unit"], "2 outputs, --labels names 3"),
        (["--preprocess", "unit"], "--labels is needed"),
        (["--labels", "a,b"], "--preprocess"),
        ([*USUAL, "--inputs", "x"], "frozen"),
        ([*USUAL, "--size", "0"], "--size"),
        ([*USUAL, "--crops", "nowhere"], "--crops must be a folder"),
    ],
)
def test_wrong_use_is_one_line_and_the_code_2(convert, options, reason):
    code, out, err, target = convert(network(), *options)
    assert code == 2
    assert reason in err.splitlines()[-1]
    assert not out
    assert not target.exists()


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (network(second_input=True), r"2 inputs \(image, other\).*that input alone"),
        (network(last="Log"), "no probabilities|not finite"),
        (without_shape(network(), "Abs"), "leaves the shape of its input open"),
    ],
    ids=["two inputs", "not finite", "any shape"],
)
def test_a_network_of_another_form_is_a_failure(convert, model, reason):
    code, _, err, target = convert(model, *USUAL)
    assert code == 1
    assert re.search(reason, err)
    assert not target.exists()


@pytest.mark.parametrize("shape", [[1, 4], [1, -1]], ids=str)
def test_a_network_that_is_reshaped_to_a_batch_of_one_is_freed_of_it(convert, shape):
    model = network(batch=1)
    model.graph.node[4].CopyFrom(helper.make_node("Reshape", ["pool", "tied"], ["flat"]))
    model.graph.initializer.append(numpy_helper.from_array(np.array(shape), "tied"))
    code, out, err, target = convert(model, *USUAL)
    assert code == 0, err
    assert "same label 100.0%" in out
    assert classify(target, 3).shape == (3, 2)


def test_a_network_tied_to_a_batch_of_one_for_good_is_a_failure(convert):
    model = network(batch=1)
    # Its own batch of one, whatever it is given.
    model.graph.node[4].CopyFrom(helper.make_node("ReduceMean", ["pool"], ["flat"], axes=[0, 2]))
    model.graph.node[4].attribute.append(helper.make_attribute("keepdims", 0))
    model.graph.node[5].CopyFrom(helper.make_node("Squeeze", ["flat"], ["row"]))
    model.graph.node.insert(6, helper.make_node("Unsqueeze", ["row", "zero"], ["rows"]))
    model.graph.node.insert(7, helper.make_node("MatMul", ["rows", "dense"], ["logits"]))
    model.graph.initializer.append(numpy_helper.from_array(np.array([0]), "zero"))
    code, _, err, target = convert(model, *USUAL)
    assert code == 1
    assert "dynamic batch size" in err
    assert not target.exists()


@pytest.mark.parametrize("output", ["missing/out.onnx", "."])
def test_an_output_that_cannot_be_a_file_is_wrong_use(tmp_path, capsys, output):
    path = tmp_path / "mine.onnx"
    onnx.save(network(), path)
    assert main([str(path), "-o", str(tmp_path / output), *USUAL]) == 2
    assert "-o must name a file" in capsys.readouterr().err


def test_a_truncated_file_is_a_failure(tmp_path, capsys):
    path = tmp_path / "mine.onnx"
    path.write_bytes(network().SerializeToString()[:200])
    assert main([str(path), "-o", str(tmp_path / "out.onnx"), *USUAL]) == 1
    assert "damaged" in capsys.readouterr().err


def test_the_input_is_never_overwritten(tmp_path, capsys):
    path = tmp_path / "mine.onnx"
    onnx.save(network(), path)
    before = path.read_bytes()
    assert main([str(path), *USUAL]) == 2
    assert "give another with -o" in capsys.readouterr().err
    assert path.read_bytes() == before


def test_real_crops_are_compared_too(convert, tmp_path, noise):
    folder = tmp_path / "crops"
    folder.mkdir()
    for i in range(3):
        cv2.imwrite(str(folder / f"{i}.png"), noise[i:])
    code, out, _, _ = convert(network(), *USUAL, "--crops", str(folder))
    assert code == 0
    assert "3 face crops" in out


def test_a_classical_model_is_named_as_such(convert):
    model = network()
    last = model.graph.node[-1]
    last.op_type, last.domain = "LinearClassifier", "ai.onnx.ml"
    last.output[:] = ["number", "out"]
    last.attribute.append(helper.make_attribute("coefficients", [1.0]))
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 1))
    code, _, err, _ = convert(model, *USUAL)
    assert code == 1
    assert "is a classical model (ai.onnx.ml.LinearClassifier)" in err


def test_the_files_that_hugging_face_keeps_beside_a_model_say_all(tmp_path, capsys):
    model = without_shape(between(network(nchw=True, last="Identity"), "Identity"))
    onnx.save(model, tmp_path / "model.onnx")
    (tmp_path / "config.json").write_text('{"id2label": {"1": "no mask", "0": "mask"}}')
    means = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4]}
    told = {"do_normalize": True, "rescale_factor": 1 / 255, "size": {"height": 8, "width": 8}}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(told | means))
    target = tmp_path / "out.onnx"
    assert main([str(tmp_path / "model.onnx"), "-o", str(target), "--logits"]) == 0
    out = capsys.readouterr().out
    assert "labels mask (with_mask), no mask (without_mask)" in out
    assert "minus (0.4, 0.5, 0.6) over (0.2, 0.3, 0.4)" in out
    assert "labels from config.json beside the model" in out
    assert "colour and range from preprocessor_config.json beside the model" in out
    assert read_metadata(target)["input_size"] == "8"
    same = tmp_path / "same.onnx"
    given = ["--mean", "0.4,0.5,0.6", "--std", "0.2,0.3,0.4", "--labels", "a,b", "--size", "8"]
    assert main([str(tmp_path / "model.onnx"), "-o", str(same), "--logits", *given]) == 0
    np.testing.assert_array_equal(classify(target), classify(same))
