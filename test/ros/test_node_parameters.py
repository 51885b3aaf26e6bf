# SPDX-License-Identifier: Apache-2.0
"""The node's parameter table and the files written from it."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: run `make setup`")

import yaml
from rclpy.parameter import Parameter as RosParameter
from ros_graph import ROOT

from mask_detector_ros.errors import ParameterError
from mask_detector_ros.ros.node_parameters import (
    NODE_PARAMETERS,
    descriptor,
    render_page,
    render_yaml,
    split_names,
)
from mask_detector_ros.ros.parameter_changes import check_changes

DEFAULTS = {p.name: p.default for p in NODE_PARAMETERS}
REWRITE = "run `python -m mask_detector_ros.ros.node_parameters`"


def test_the_yaml_file_is_the_table() -> None:
    path = ROOT / "config" / "mask_detector.yaml"
    assert path.read_text(encoding="utf-8") == render_yaml(NODE_PARAMETERS), REWRITE


def test_the_yaml_file_holds_every_default() -> None:
    content = yaml.safe_load(render_yaml(NODE_PARAMETERS))
    values = content["/**/mask_detector"]["ros__parameters"]
    assert values == {
        p.name: list(p.default) if isinstance(p.default, tuple) else p.default
        for p in NODE_PARAMETERS
    }


def test_the_docs_page_is_what_the_table_says() -> None:
    page = (ROOT / "docs" / "reference" / "parameters.md").read_text(encoding="utf-8")
    assert page == render_page(NODE_PARAMETERS), REWRITE


def test_descriptors_tell_the_rule() -> None:
    for parameter in NODE_PARAMETERS:
        message = descriptor(parameter)
        assert message.description == parameter.description
        assert parameter.allowed in message.additional_constraints


def test_a_change_is_made_whole_or_not_at_all() -> None:
    good = RosParameter("min_face_size", value=40)
    bad = RosParameter("max_faces", value=-1)
    assert check_changes(NODE_PARAMETERS, [good], DEFAULTS, configured=True).successful
    result = check_changes(NODE_PARAMETERS, [good, bad], DEFAULTS, configured=True)
    assert not result.successful
    assert "max_faces must be an integer from 0 to 10000" in result.reason


def test_fixed_parameters_change_only_before_configuration() -> None:
    change = [RosParameter("threads", value=2)]
    assert check_changes(NODE_PARAMETERS, change, DEFAULTS, configured=False).successful
    assert not check_changes(NODE_PARAMETERS, change, DEFAULTS, configured=True).successful


def test_parameters_of_others_are_left_alone() -> None:
    change = [RosParameter("use_sim_time", value=True)]
    assert check_changes(NODE_PARAMETERS, change, DEFAULTS, configured=True).successful


def test_a_fixed_parameter_that_stays_as_it_is_may_be_set_again() -> None:
    """`ros2 param load` does so with a whole dump."""
    same = [RosParameter(name, value=DEFAULTS[name]) for name in ("threads", "backend", "cameras")]
    assert check_changes(NODE_PARAMETERS, same, DEFAULTS, configured=True).successful


@pytest.mark.parametrize("text", ["", "front", "front,rear", "front, rear_2 ,Left", "a/b,/c"])
def test_camera_names_are_names_with_commas(text: str) -> None:
    (cameras,) = (p for p in NODE_PARAMETERS if p.name == "cameras")
    assert cameras.check(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "front/",
        "a//b",
        "front rear",
        "2",
        ",",
        "front,",
        ",front",
        " ",
        "fr-ont",
        "kamera_ä",
        "a/2",
    ],
)
def test_what_cannot_stand_in_a_topic_is_no_camera(text: str) -> None:
    (cameras,) = (p for p in NODE_PARAMETERS if p.name == "cameras")
    with pytest.raises(ParameterError, match="cameras must be names of letters"):
        cameras.check(text)


def test_names_may_be_a_list() -> None:
    """Names may be a list in YAML; rclpy gives tuples and lists."""
    for name in ("cameras", "camera_topics", "alert_labels"):
        (parameter,) = (p for p in NODE_PARAMETERS if p.name == name)
        assert parameter.check(("front", "rear")) == "front,rear"
        with pytest.raises(ParameterError, match=name):
            parameter.check((1, 2))


def test_names_are_split_at_commas() -> None:
    assert split_names(" a, b ,a,") == ["a", "b", "a"]
    assert split_names("") == []


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("classifier_model", "/etc/passwd", False),
        ("classifier_model", "mask_classifier", True),
        ("detector_model", "/tmp", False),
        ("detector_model", "mtcnn", True),
        ("engine_cache_dir", "/tmp/x", False),
        ("server_url", "grpc://elsewhere:8001", False),
        ("server_url", "", True),
        ("server_ca", "/tmp/x", False),
        ("server_token_file", "/etc/passwd", False),
        ("server_deadline", 1.0, True),
        ("allow_path_changes", True, False),
    ],
)
def test_a_peer_can_choose_no_path_unless_the_node_was_started_so(
    name: str, value: object, allowed: bool
) -> None:
    values = {p.name: p.default for p in NODE_PARAMETERS}
    change = [RosParameter(name, value=value)]
    result = check_changes(NODE_PARAMETERS, change, values, configured=False)
    assert result.successful is allowed
    values["allow_path_changes"] = True
    result = check_changes(NODE_PARAMETERS, change, values, configured=False)
    assert result.successful or name == "allow_path_changes"
