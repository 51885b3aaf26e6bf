"""Start a camera, or none, and the mask detector on its images.

`ros2 launch mask_detector_ros mask.launch.py --show-args` lists the arguments. One that is
empty leaves its parameter to `params_file`, and what that file lacks to the node.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    GroupAction,
    OpaqueFunction,
    SetEnvironmentVariable,
)
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from mask_detector_ros.inference import BACKENDS
from mask_detector_ros.ros.environment import image_environment

CONFIG = Path(__file__).parent.parent / "config"
BOOLEANS = ["true", "false", "True", "False"]
ANNOTATED_TOPIC = "mask_detector/image_annotated"

ARGUMENTS = [
    DeclareLaunchArgument(
        "camera",
        default_value="v4l2",
        choices=["v4l2", "source", "none"],
        description="Where images come from: v4l2 (a camera, by the package v4l2_camera), "
        "source (what the argument source names), or none (the topic has a publisher already)",
    ),
    DeclareLaunchArgument(
        "video_device",
        default_value="",
        description="Device of camera:=v4l2, such as /dev/video0; empty: as in params_file",
    ),
    DeclareLaunchArgument(
        "source",
        default_value="",
        description="What camera:=source plays: a file, a directory, an RTSP or HTTP URL, or "
        "sample (the bundled scene); empty: as in params_file",
    ),
    DeclareLaunchArgument(
        "image",
        default_value="image_raw",
        description="Topic of the images, relative to the namespace unless it begins with /",
    ),
    DeclareLaunchArgument(
        "backend",
        default_value="",
        choices=["", "auto", *BACKENDS],
        description="Inference backend of the detector; empty: as in params_file",
    ),
    DeclareLaunchArgument(
        "namespace", default_value="", description="Namespace of all nodes, such as front"
    ),
    DeclareLaunchArgument(
        "params_file",
        default_value=str(CONFIG / "mask_detector.yaml"),
        description="YAML file with the parameters of the detector and of the camera's node",
    ),
    DeclareLaunchArgument(
        "rviz",
        default_value="false",
        choices=BOOLEANS,
        description="Whether to show the annotated image in rviz2",
    ),
    DeclareLaunchArgument(
        "use_sim_time",
        default_value="",
        choices=["", *BOOLEANS],
        description="Whether the nodes take their time from /clock; empty: as in params_file",
    ),
    DeclareLaunchArgument(
        "autostart",
        default_value="",
        choices=["", *BOOLEANS],
        description="Whether the detector configures and activates itself, with no lifecycle "
        "manager; empty: as in params_file",
    ),
]


def require_package(name: str, argument: str) -> None:
    """Fail before any node is started, with the way out, where a package is missing."""
    try:
        get_package_share_directory(name)
    except PackageNotFoundError:
        debian_name = f"ros-$ROS_DISTRO-{name.replace('_', '-')}"
        raise RuntimeError(
            f"{argument} needs the package {name}, which is not installed; "
            f"run: sudo apt install {debian_name}"
        ) from None


def start_nodes(context: LaunchContext) -> list[Node]:
    """The nodes that the arguments ask for."""
    arguments = context.launch_configurations
    params_file = Path(arguments["params_file"]).expanduser()
    if not params_file.is_file():
        # launch_ros would go on without it, with a warning that is easily missed.
        raise FileNotFoundError(f"params_file:={params_file} is not a file; give an existing one")

    def parameters(*names: str) -> list[Any]:
        given = [name for name in (*names, "use_sim_time") if arguments[name]]
        return [str(params_file), {name: parameter_value(name, arguments[name]) for name in given}]

    image = arguments["image"]
    common = {
        "namespace": arguments["namespace"],
        "remappings": [("image_raw", image), ("image_raw/compressed", f"{image}/compressed")],
        "output": "screen",
    }
    nodes = [
        Node(
            package="mask_detector_ros",
            executable="mask_detector",
            name="mask_detector",
            parameters=parameters("backend", "autostart"),
            **common,
        )
    ]
    if arguments["camera"] == "source":
        nodes.append(
            Node(
                package="mask_detector_ros",
                executable="image_source",
                name="image_source",
                parameters=parameters("source"),
                **common,
            )
        )
    if arguments["camera"] == "v4l2":
        require_package("v4l2_camera", "camera:=v4l2")
        nodes.append(
            Node(
                package="v4l2_camera",
                executable="v4l2_camera_node",
                name="v4l2_camera",
                parameters=parameters("video_device"),
                **common,
            )
        )
    if arguments["rviz"].lower() == "true":
        require_package("rviz2", "rviz:=true")
        # The topic in rviz's configuration is absolute; this moves it into the namespace.
        common["remappings"] = [(f"/{ANNOTATED_TOPIC}", ANNOTATED_TOPIC)]
        nodes.append(
            Node(
                package="rviz2",
                executable="rviz2",
                name="rviz2",
                arguments=["-d", str(CONFIG / "mask.rviz")],
                parameters=parameters(),
                **common,
            )
        )
    return nodes


def parameter_value(name: str, text: str) -> bool | ParameterValue:
    """An argument in its parameter's type; left to YAML, a source named 0 would be a number."""
    if name in ("autostart", "use_sim_time"):
        return text.lower() == "true"
    return ParameterValue(text, value_type=str)


def generate_launch_description() -> LaunchDescription:
    """The entry point that `ros2 launch` calls."""
    environment = [
        SetEnvironmentVariable(name, value)
        for name, value in image_environment(CONFIG, os.environ).items()
    ]
    # The group keeps the environment from other nodes of a launch file that includes this one.
    nodes = GroupAction([*environment, OpaqueFunction(function=start_nodes)])
    return LaunchDescription([*ARGUMENTS, nodes])
