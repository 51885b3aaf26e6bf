# SPDX-License-Identifier: Apache-2.0
"""What a file says of the tool that made it gives colour and range."""

import json

import pytest

onnx = pytest.importorskip("onnx", reason="needs the extra `dev`")
from onnx import TensorProto, helper  # noqa: E402
from onnx_networks import network, read_metadata  # noqa: E402

WINDOWS = {"Image.BitmapPixelFormat": "Bgr8", "Image.NominalPixelRange": "NominalRange_0_255"}
LABELS = ["--labels", "with_mask,without_mask"]


def of_custom_vision(props=WINDOWS):
    """A classifier as Custom Vision exports it: a label and a map, a batch of one."""
    model = network(nchw=True, batch=1)
    names = {"classlabels_strings": ["Sin máscara", "Con máscara"]}
    nodes = [
        helper.make_node("ArgMax", ["out"], ["index"], axis=1, keepdims=0),
        helper.make_node("ZipMap", ["out"], ["loss"], domain="ai.onnx.ml", **names),
    ]
    model.graph.node.extend(nodes)
    del model.graph.output[:]
    label = helper.make_tensor_value_info("index", TensorProto.INT64, [1])
    mapped = onnx.ValueInfoProto(name="loss")
    mapped.type.sequence_type.elem_type.map_type.key_type = TensorProto.STRING
    mapped.type.sequence_type.elem_type.map_type.value_type.tensor_type.elem_type = 1
    model.graph.output.extend([label, mapped])
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 1))
    helper.set_model_props(model, props)
    return model


def test_a_model_of_custom_vision_says_all_itself(convert):
    code, out, err, target = convert(of_custom_vision())
    assert code == 0, err
    told = read_metadata(target)
    assert json.loads(told["labels"]) == ["Sin máscara", "Con máscara"]
    assert json.loads(told["roles"]) == ["without_mask", "with_mask"]
    assert (told["color"], told["scale"], told["offset"]) == ("BGR", "1.0", "0.0")
    assert "ZipMap" not in {node.op_type for node in onnx.load(target).graph.node}
    assert "Con máscara (with_mask)" in out
    assert "labels from the file itself" in out
    assert "colour and range from Windows ML, known by the Image entries" in out


@pytest.mark.parametrize(
    ("pixel_format", "pixel_range", "expected"),
    [
        ("Rgb8", "Normalized_0_1", ("RGB", 1 / 255, 0)),
        ("Bgr8", "Normalized_1_1", ("BGR", 1 / 127.5, -1)),
        ("Bgr8", "NominalRange_16_235", ("BGR", 219 / 255, 16)),
        ("Bgr8", None, ("BGR", 1, 0)),
    ],
)
def test_each_range_of_windows_ml_is_known(convert, pixel_format, pixel_range, expected):
    props = {"Image.BitmapPixelFormat": pixel_format}
    props |= {"Image.NominalPixelRange": pixel_range} if pixel_range else {}
    code, _, err, target = convert(of_custom_vision(props))
    assert code == 0, err
    told = read_metadata(target)
    assert told["color"] == expected[0]
    assert (float(told["scale"]), float(told["offset"])) == pytest.approx(expected[1:])


def test_an_option_wins_over_the_file_and_a_warning_says_so(convert):
    options = ["--preprocess", "unit", "--labels", "with_mask,without_mask"]
    code, out, err, target = convert(of_custom_vision(), *options)
    assert code == 0, err
    assert read_metadata(target)["color"] == "RGB"
    assert "colour and range from" not in out
    assert "note: labels as given; the file itself says otherwise" in out
    assert "note: colour and range as given; Windows ML, known by the Image entries" in out
    assert "which takes --preprocess none --color BGR; the given preprocessing is another" in err


@pytest.mark.parametrize(
    ("ends", "color"),
    [
        (("Placeholder", "loss"), "BGR"),
        (("Placeholder:0", "model_outputs:0"), "BGR"),
        (("data", "model_output"), "RGB"),
    ],
)
def test_tensorflow_exports_of_custom_vision_are_known_by_their_ends(convert, ends, color):
    code, out, err, target = convert(renamed(network(), *ends), *LABELS)
    assert code == 0, err
    told = read_metadata(target)
    assert (told["color"], told["scale"], told["offset"]) == (color, "1.0", "0.0")
    assert "from Custom Vision, known by the names of its input and output" in out


def renamed(model, source, result):
    model.graph.input[0].name = model.graph.node[0].input[0] = source
    model.graph.output[0].name = model.graph.node[-1].output[0] = result
    return model


def test_a_classifier_of_ultralytics_says_labels_and_range(convert):
    model = renamed(network(nchw=True), "images", "output0")
    names = {"names": "{0: 'mask', 1: 'no mask'}", "task": "classify", "imgsz": "[8, 8]"}
    helper.set_model_props(model, names)
    code, out, err, target = convert(model)
    assert code == 0, err
    told = read_metadata(target)
    assert json.loads(told["labels"]) == ["mask", "no mask"]
    assert (told["color"], float(told["scale"])) == ("RGB", pytest.approx(1 / 255))
    assert "labels from the names in the file itself" in out


def test_a_detector_of_ultralytics_is_refused_as_one(convert):
    model = network(nchw=True)
    helper.set_model_props(model, {"names": "{0: 'mask', 1: 'no mask'}", "task": "detect"})
    code, _, err, _ = convert(model)
    assert code == 1
    assert "for the task detect; the node needs a classifier of face crops" in err


def test_a_network_with_the_names_of_teachable_machine_says_how_it_is_fed(convert):
    model = network(side=224)
    model.graph.node[5].name = "sequential_3/dense_Dense2/MatMul"
    code, out, err, target = convert(model, "--labels", "with_mask,without_mask")
    assert code == 0, err
    assert "colour and range from Teachable Machine, known by the names of its layers" in out
    assert float(read_metadata(target)["scale"]) == pytest.approx(1 / 127.5)
    for wrong in (["--preprocess", "unit"], ["--preprocess", "mobilenet_v2", "--color", "BGR"]):
        code, _, err, _ = convert(model, "--labels", "with_mask,without_mask", *wrong)
        assert code == 0, err
        assert "a model of Teachable Machine, which takes --preprocess mobilenet_v2" in err
    code, _, err, _ = convert(model, "--labels", "warm,cold", "--preprocess", "unit")
    assert "warning: the names of its layers say that this is a model of Teachable Machine" in err


def test_an_integer_input_has_no_range_whatever_the_file_says(convert):
    model = network()
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    cast = helper.make_node("Cast", ["image"], ["real"], to=TensorProto.FLOAT)
    model.graph.node[0].input[0] = "real"
    model.graph.node.insert(0, cast)
    helper.set_model_props(model, {"scale": "0.1", "offset": "3", "color": "BGR"})
    code, out, err, target = convert(model, *LABELS)
    assert code == 0, err
    assert (read_metadata(target)["scale"], read_metadata(target)["color"]) == ("1.0", "BGR")
    assert "range from its integer input" in out
    assert "colour from the file itself" in out


def test_the_wrong_number_of_labels_is_blamed_on_where_they_come_from(convert):
    code, _, err, _ = convert(of_custom_vision(), "--labels", "a,b,c")
    assert code == 2
    assert "has 2 outputs, --labels names 3: a, b, c; give a name for each output" in err
    model = network()
    helper.set_model_props(model, {"labels": '["a", "b", "c"]'})
    code, _, err, _ = convert(model, "--preprocess", "unit")
    assert "has 2 outputs, the file itself names 3: a, b, c" in err


@pytest.mark.parametrize("name", ["detected_boxes", "detection_boxes:0"])
def test_the_outputs_of_an_object_detector_are_known_by_their_names(convert, name):
    model = renamed(network(), "image", name)
    model.graph.output.append(helper.make_tensor_value_info("flat", TensorProto.FLOAT, ["n", 4]))
    code, _, err, _ = convert(model, *LABELS, "--preprocess", "unit")
    assert code == 1
    assert f"is an object detector ({name}, flat)" in err
