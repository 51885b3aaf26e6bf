# SPDX-License-Identifier: Apache-2.0
"""The two-stage cascade in one graph finds the same faces as the two networks step by step."""

from dataclasses import replace

import cv2
import numpy as np
import onnx
import pytest
from two_stage_networks import decision_network, proposal_network

from convert_to_trt import cascade_to_onnx
from convert_to_trt.cascade_settings import GraphSettings
from convert_to_trt.two_stage_graph import compose_two_stage
from mask_detector_ros.errors import ModelError, ParameterError
from mask_detector_ros.inference import create_session
from mask_detector_ros.inference.fixed_slots import has_free_slots, to_fixed_slots
from mask_detector_ros.inference.tensorrt.typed_onnx import to_plain_layers
from mask_detector_ros.mtcnn.detection_settings import DetectionSettings
from mask_detector_ros.mtcnn.loading import load_cascade
from mask_detector_ros.mtcnn.single_file_cascade import CascadeGraph

SETTINGS = GraphSettings(
    96, 80, min_face_size=16, detection_thresholds=(0.6, 0.7, 0.6), decide_slots=128, face_slots=64
)


@pytest.fixture(scope="module")
def stages():
    return {"proposal": proposal_network(), "decision": decision_network()}


def fixed(settings):
    limits = ("min_face_size", "pyramid_factor", "detection_thresholds")
    values = {name: getattr(settings, name) for name in limits}
    return DetectionSettings.of({**DEFAULTS, **values, "max_faces": settings.face_slots})


DEFAULTS = {"max_candidates": 100, "max_faces": 0, "margin": -1.0}


def squares(*places, height=80, width=96):
    """White squares on black: (x, y, side) of each."""
    image = np.zeros((height, width, 3), np.uint8)
    for x, y, side in places:
        cv2.rectangle(image, (x, y), (x + side - 1, y + side - 1), (255, 255, 255), -1)
    return image


IMAGES = {
    "none": squares(),
    "one": squares((24, 24, 16)),
    "several": squares((8, 8, 16), (48, 8, 16), (24, 40, 32)),
    "at the edge": squares((80, 64, 16)),
}


def graph_of(stages, settings=SETTINGS):
    model = compose_two_stage(stages, settings)
    onnx.checker.check_model(model)
    return CascadeGraph(create_session(model.SerializeToString(), "graph", "onnxruntime", 1))


@pytest.mark.parametrize("scale", [1.0, 0.5], ids=["as it is", "scaled"])
@pytest.mark.parametrize("name", IMAGES)
def test_it_finds_what_the_networks_find_step_by_step(stages, name, scale):
    settings = replace(SETTINGS, min_face_size=int(16 / scale))
    graph, cascade = graph_of(stages, settings), load_cascade(stages, "onnxruntime", 1)
    image = IMAGES[name]
    found, wanted = graph(image, fixed(settings)), cascade(image, fixed(settings))
    assert len(found) == len(wanted)
    order = [np.lexsort(faces.boxes.T.round()) for faces in (found, wanted)]
    found, wanted = found[order[0]], wanted[order[1]]
    np.testing.assert_allclose(found.boxes, wanted.boxes, atol=0.1)
    np.testing.assert_allclose(found.scores, wanted.scores, atol=0.02)
    np.testing.assert_allclose(found.landmarks, wanted.landmarks, atol=0.1)
    np.testing.assert_allclose(found.probabilities, wanted.probabilities, atol=0.02)


def test_one_many_none_many_faces_are_independent_of_the_frame_before(stages):
    graph = graph_of(stages)
    counts = [len(graph(IMAGES[n], fixed(SETTINGS))) for n in ("one", "several", "none", "several")]
    assert counts[1] == counts[3] > counts[0] > counts[2] == 0


def test_a_large_frame_has_its_coarse_pass_in_the_graph(stages):
    small_sight = {**stages, "proposal": proposal_network(largest_face=64)}
    settings = replace(SETTINGS, width=160, height=128)
    graph = graph_of(small_sight, settings)
    cascade = load_cascade(small_sight, "onnxruntime", 1)
    image = squares((48, 32, 64), height=128, width=160)
    found, wanted = graph(image, fixed(settings)), cascade(image, fixed(settings))
    assert len(found) == len(wanted) > 0
    # Only the coarse pass has cells so large.
    assert (wanted.boxes[:, 2] - wanted.boxes[:, 0]).max() > 32


def test_too_few_slots_are_counted_and_warned_of(stages, caplog):
    graph = graph_of(stages, replace(SETTINGS, decide_slots=1, face_slots=1))
    assert len(graph(IMAGES["several"], fixed(SETTINGS))) <= 1
    assert "too few slots for this image" in caplog.text


def test_a_frame_smaller_than_the_smallest_face_is_rejected(stages):
    with pytest.raises(ParameterError, match="holds no face of 100 pixels"):
        compose_two_stage(stages, replace(SETTINGS, min_face_size=100))


def test_networks_without_their_metadata_are_rejected(stages):
    bare = onnx.load_from_string(stages["decision"])
    del bare.metadata_props[:]
    with pytest.raises(ModelError, match="lack metadata"):
        compose_two_stage({**stages, "decision": bare.SerializeToString()}, SETTINGS)


@pytest.fixture
def folder(stages, tmp_path):
    for name, content in stages.items():
        (tmp_path / f"{name}.onnx").write_bytes(content)
    return tmp_path


def make(folder, *options):
    path = folder / "cascade.onnx"
    common = ("--detector-model", str(folder), "--image", "96x80", "--min-face-size", "16")
    return cascade_to_onnx.main(["-o", str(path), *common, *options]), path


def test_the_command_makes_it_with_few_crops(folder, capsys):
    code, path = make(folder, "--classifier-model", "auto", "--json")
    assert code == 0
    assert '"decide_slots": 64' in capsys.readouterr().out
    assert onnx.load(path).graph.output[0].name == "boxes"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--half", "--classifier-model", "auto"), "leave --half out"),
        (("--classifier-model", "mask_classifier"), "leave --classifier-model out"),
    ],
)
def test_what_the_two_stage_cascade_cannot_have_is_said(folder, capsys, options, message):
    code, path = make(folder, *options)
    assert code == 2
    assert message in capsys.readouterr().err
    assert not path.exists()


@pytest.fixture(scope="module")
def graphs(stages):
    """With slots cut off, with all slots, and with the layers that TensorRT-RTX takes; the frame is
    scaled by products."""
    settings = replace(SETTINGS, width=100, min_face_size=20)
    free = compose_two_stage(stages, settings).SerializeToString()
    fixed = to_fixed_slots(free, "graph")
    return {"free": free, "fixed": fixed, "plain": to_plain_layers(fixed, "graph")}


@pytest.mark.parametrize("kind", ["fixed", "plain"])
def test_fixed_slots_compute_the_same(graphs, kind):
    assert has_free_slots(graphs["free"])
    assert not has_free_slots(graphs[kind])
    free, whole = (create_session(graphs[k], k, "onnxruntime", 1) for k in ("free", kind))
    for places in ([], [(24, 24, 20)], [(8, 8, 20), (52, 8, 20), (24, 40, 30)]):
        image = squares(*places, width=100)
        found, wanted = free.run(image=image), whole.run(image=image)
        np.testing.assert_array_equal(found.pop("dropped"), wanted.pop("dropped"))
        # Equal faces have equal scores but for rounding, and come in any order.
        orders = [np.lexsort(values["boxes"].T.round()) for values in (found, wanted)]
        for name, values in wanted.items():
            ours, theirs = found[name][orders[0]], values[orders[1]]
            np.testing.assert_allclose(ours, theirs, atol=1e-4, err_msg=name)


def test_fixed_slots_have_fixed_shapes_and_layers_that_tensorrt_builds(graphs):
    graph = onnx.shape_inference.infer_shapes(onnx.load_from_string(graphs["plain"])).graph
    unknown = [
        value.name
        for value in graph.value_info
        if any(d.dim_value == 0 for d in value.type.tensor_type.shape.dim)
    ]
    assert unknown == []
    constants = {tensor.name for tensor in graph.initializer}
    assert not [n.name for n in graph.node if n.op_type == "Gemm"]
    assert not [n.name for n in graph.node if n.op_type == "MatMul" and n.input[0] in constants]


def test_the_command_writes_fixed_slots_on_request(folder):
    code, path = make(folder, "--classifier-model", "auto", "--fixed-slots")
    assert code == 0
    assert not has_free_slots(path.read_bytes())


def test_a_frame_without_candidates_skips_the_decision_network(graphs):
    def has_decision(kind):
        nodes = onnx.load_from_string(graphs[kind]).graph.node
        return any(name.startswith("decision_") for node in nodes for name in node.output)

    # It is in a branch of an If, where there is one.
    assert has_decision("fixed")
    assert not has_decision("free")
