# SPDX-License-Identifier: Apache-2.0
"""mask.launch.py: its arguments and errors, without a node."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("ros2launch", reason="ros2launch is not installed; a full ROS 2 has it")
pytest.importorskip("launch_ros", reason="launch_ros is not installed; a full ROS 2 has it")

from launch import LaunchContext
from launch.launch_description_sources import get_launch_description_from_python_launch_file
from launch_ros.descriptions import ParameterFile
from running_launch import RunningLaunch, is_installed

from benchmark.processes import LIMIT
from mask_detector_ros.errors import ParameterError
from mask_detector_ros.inference import BACKENDS, SERVER_BACKENDS

LAUNCH_FILE = Path(__file__).parents[2] / "launch" / "mask.launch.py"

ARGUMENTS = [
    "autostart",
    "backend",
    "camera",
    "camera_params_file",
    "cameras",
    "detectors",
    "image",
    "image_transport",
    "local",
    "namespace",
    "params_file",
    "rviz",
    "server_url",
    "source",
    "use_sim_time",
    "video_device",
]


def declared_arguments() -> dict[str, object]:
    description = get_launch_description_from_python_launch_file(str(LAUNCH_FILE))
    return {argument.name: argument for argument in description.get_launch_arguments()}


def test_the_arguments_are_declared_where_show_args_finds_them() -> None:
    assert sorted(declared_arguments()) == ARGUMENTS


@pytest.mark.parametrize("name", ARGUMENTS)
def test_an_argument_has_a_description_and_a_default(name: str) -> None:
    argument = declared_arguments()[name]
    assert argument.description.strip() not in ("", "no description given")
    assert argument.default_value is not None


@pytest.mark.parametrize(
    ("name", "choices"),
    [
        ("camera", {"v4l2", "source", "none"}),
        ("detectors", {"one", "each"}),
        ("backend", {"", "auto", *BACKENDS, *SERVER_BACKENDS}),
        ("rviz", {"true", "false", "True", "False"}),
        ("use_sim_time", {"", "true", "false", "True", "False"}),
        ("autostart", {"", "true", "false", "True", "False"}),
        ("image_transport", {"", "auto", "raw", "compressed"}),
    ],
)
def test_an_argument_takes_only_its_choices(name: str, choices: set[str]) -> None:
    assert set(declared_arguments()[name].choices) == choices


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("camera:=webcam", "Valid options are: ['v4l2', 'source', 'none']"),
        ("params_file:=missing.yaml", "params_file:=missing.yaml is not a file"),
        ("camera_params_file:=missing.yaml", "camera_params_file:=missing.yaml is not a file"),
        ("image:=/image cameras:=a,b", "name one topic per camera, separated by commas"),
        ("image:=a,b,c cameras:=a,b", "image has 3 values for 2 cameras"),
        ("image:=a,b cameras:=a", "image has 2 values for 1 camera;"),
        ("cameras:=a-b", "cameras must be names of letters, digits, _ and /, separated by commas"),
        ("namespace:=a-b", "namespace must be letters, digits and _"),
        ("cameras:=a,a", "cameras gives /a to two cameras; give each its own"),
        ("cameras:=a,/a detectors:=each", "cameras gives /a to two cameras"),
        ("cameras:=,a", "cameras must be names of letters"),
        ("cameras:=a,b image:=/c,/c", "image gives /c to two cameras"),
        ("image:=a//b", "image must be names of letters, digits, _ and /"),
        pytest.param(
            "camera:=v4l2",
            "sudo apt install ros-$ROS_DISTRO-v4l2-camera",
            marks=pytest.mark.skipif(is_installed("v4l2_camera"), reason="v4l2_camera is there"),
        ),
        pytest.param(
            "rviz:=true",
            "sudo apt install ros-$ROS_DISTRO-rviz2",
            marks=pytest.mark.skipif(is_installed("rviz2"), reason="rviz2 is there"),
        ),
    ],
)
def test_what_cannot_be_started_is_refused_before_any_node_starts(
    argument: str, message: str, start_launch: Callable[..., RunningLaunch], tmp_path: Path
) -> None:
    params_file = tmp_path / "params.yaml"
    params_file.write_text("")
    defaults = ["camera:=none", f"params_file:={params_file}"]
    others = [other for other in defaults if other.split(":=")[0] != argument.split(":=")[0]]
    running = start_launch(str(LAUNCH_FILE), *argument.split(), *others)
    assert running.process.wait(LIMIT) == 1
    assert message in running.output
    assert "process started" not in running.output


def nodes_for(*arguments: str) -> list[object]:
    """The nodes that the launch file would start."""
    context = LaunchContext()
    context.launch_configurations.update(
        {name: argument.default_value[0].text for name, argument in declared_arguments().items()}
    )
    context.launch_configurations.update(dict(a.split(":=") for a in arguments))
    launch_file = runpy.run_path(str(LAUNCH_FILE))
    launch_file["start_nodes"].__globals__["require_package"] = lambda *_: None
    return launch_file["start_nodes"](context)


def parameter_files(node: object) -> list[str]:
    context = LaunchContext()
    files = [p for p in node._Node__parameters if isinstance(p, ParameterFile)]
    return [str(file.evaluate(context)) for file in files]


@pytest.mark.parametrize("camera", ["v4l2", "source"])
def test_the_camera_gets_its_own_parameter_file_and_never_the_detectors(
    camera: str, tmp_path: Path
) -> None:
    """v4l2_camera ends at `privacy: off`: webcams have a control of that name, of another type."""
    detector, source = nodes_for(f"camera:={camera}")
    assert [Path(f).name for f in parameter_files(detector)] == ["mask_detector.yaml"]
    assert parameter_files(source) == []
    own = tmp_path / "camera.yaml"
    own.write_text("")
    detector, source = nodes_for(f"camera:={camera}", f"camera_params_file:={own}")
    assert [Path(f).name for f in parameter_files(detector)] == ["mask_detector.yaml"]
    assert parameter_files(source) == [str(own)]


@pytest.mark.parametrize(
    ("devices", "message"),
    [
        ("", "video_device gives /dev/video0 to two cameras"),
        ("/dev/video2,/dev/video2", "video_device gives /dev/video2 to two cameras"),
        ("/dev/video2,", "video_device:=/dev/video2, has an empty value"),
    ],
)
def test_two_cameras_need_two_devices(devices: str, message: str) -> None:
    with pytest.raises((ParameterError, ValueError), match=message):
        nodes_for("camera:=v4l2", "cameras:=a,b", f"video_device:={devices}")


@pytest.mark.parametrize(
    ("namespace", "camera", "expected"),
    [("robot", "/front", "/front"), ("robot/", "front", "robot/front"), ("/", "front", "/front")],
)
def test_a_camera_with_a_full_name_is_outside_the_namespace(
    namespace: str, camera: str, expected: str
) -> None:
    source = nodes_for("camera:=source", f"cameras:={camera}", f"namespace:={namespace}")[-1]
    assert source._Node__node_namespace == expected
