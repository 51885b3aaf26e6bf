# SPDX-License-Identifier: Apache-2.0
"""Launch file: start a camera, or none, and the mask detector on its images.

`ros2 launch mask_detector_ros mask.launch.py --show-args` lists the arguments. An empty argument
leaves its parameter to the node's parameter file, and then to the node's default. Detector and
camera have separate files, because a parameter name can mean different things to them.
"""

import os
import posixpath
import re
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

from mask_detector_ros.inference import BACKENDS, SERVER_BACKENDS
from mask_detector_ros.ros.camera_topics import count_of, require_distinct
from mask_detector_ros.ros.dds_environment import image_environment
from mask_detector_ros.ros.node_parameters import ROS_NAME, ROS_NAMES, split_names
from mask_detector_ros.ros.subscription import TRANSPORTS

CONFIG = Path(__file__).parent.parent / "config"
BOOLEANS = ["true", "false", "True", "False"]
ANNOTATED_TOPIC = "mask_detector/image_annotated"

ARGUMENTS = [
    DeclareLaunchArgument(
        "camera",
        default_value="v4l2",
        choices=["v4l2", "source", "none"],
        description="Where images come from: v4l2 (a camera, through the package v4l2_camera), "
        "source (the argument source), or none (the topic already has a publisher)",
    ),
    DeclareLaunchArgument(
        "video_device",
        default_value="",
        description="Device for camera:=v4l2, such as /dev/video0; with cameras, one per camera, "
        "separated by commas; empty: as in camera_params_file",
    ),
    DeclareLaunchArgument(
        "source",
        default_value="",
        description="What camera:=source plays: a file, a directory, an RTSP or HTTP URL, or "
        "sample (the bundled scene); empty: as in camera_params_file",
    ),
    DeclareLaunchArgument(
        "image",
        default_value="image_raw",
        description="Image topic, relative to the namespace unless it begins with /; with cameras, "
        "relative to each camera, or one topic per camera, separated by commas",
    ),
    DeclareLaunchArgument(
        "cameras",
        default_value="",
        description="Names of several cameras, separated by commas, such as front,rear; each "
        "name is that camera's namespace; empty: one camera",
    ),
    DeclareLaunchArgument(
        "detectors",
        default_value="one",
        choices=["one", "each"],
        description="one: a single detector serves all cameras with one set of models; each: every "
        "camera has its own detector process",
    ),
    DeclareLaunchArgument(
        "backend",
        default_value="",
        choices=["", "auto", *BACKENDS, *SERVER_BACKENDS],
        description="Inference backend of the detector; empty: as in params_file",
    ),
    DeclareLaunchArgument(
        "server_url",
        default_value="",
        description="Inference server for the backends auto and triton, such as grpc://host:8001; "
        "empty: as in params_file",
    ),
    DeclareLaunchArgument(
        "image_transport",
        default_value="",
        choices=["", *TRANSPORTS],
        description="Whether the detector subscribes to raw or compressed images; auto uses raw "
        "images if a node publishes them; empty: as in params_file",
    ),
    DeclareLaunchArgument(
        "namespace", default_value="", description="Namespace of all nodes, such as front"
    ),
    DeclareLaunchArgument(
        "params_file",
        default_value=str(CONFIG / "mask_detector.yaml"),
        description="YAML file with the parameters of the detector only",
    ),
    DeclareLaunchArgument(
        "camera_params_file",
        default_value="",
        description="YAML file with the parameters of the camera node; empty: its defaults",
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
        description="Whether the nodes use simulated time from /clock; empty: as in their "
        "parameter files",
    ),
    DeclareLaunchArgument(
        "autostart",
        default_value="",
        choices=["", *BOOLEANS],
        description="Whether the detector configures and activates itself, without a lifecycle "
        "manager; empty: as in params_file",
    ),
    DeclareLaunchArgument(
        "local",
        default_value="false",
        choices=BOOLEANS,
        description="Whether to limit discovery to this machine; false: as set in the environment",
    ),
]


def require_package(name: str, argument: str) -> None:
    """Fail with the remedy before launch starts any node if a package is missing."""
    try:
        get_package_share_directory(name)
    except PackageNotFoundError:
        debian_name = f"ros-$ROS_DISTRO-{name.replace('_', '-')}"
        raise RuntimeError(
            f"{argument} needs the package {name}; run: sudo apt install {debian_name}"
        ) from None


def start_nodes(context: LaunchContext) -> list[Node]:
    """Make the nodes that the launch arguments select."""
    arguments = context.launch_configurations
    check_names(arguments)
    own_file = find_file(arguments, "params_file")
    camera_file = find_file(arguments, "camera_params_file")

    def parameters(file: list[str], *names: str) -> list[Any]:
        given = [name for name in (*names, "use_sim_time") if arguments[name]]
        values = [{name: parameter_value(name, arguments[name]) for name in given}]
        return [*file, *values]

    cameras = split_names(arguments["cameras"])
    namespaces = [join_names(arguments["namespace"], name) for name in cameras or [""]]
    require_distinct("cameras", [join_names("/", namespace) for namespace in namespaces])
    topics = spread_images(arguments, len(namespaces))
    images = dict(zip(namespaces, topics, strict=True))
    require_distinct("image", [join_names("/", *image) for image in images.items()])

    def node(executable: str, namespace: str, package: str, values: list[Any], **more: Any) -> Node:
        name = executable.removesuffix("_node")
        topics = {"remappings": remap(images.get(namespace, "image_raw")), **more}
        return Node(
            package=package,
            executable=executable,
            name=name,
            namespace=namespace,
            parameters=values,
            output="screen",
            **topics,
        )

    ours = "mask_detector_ros"
    detector = parameters(own_file, "backend", "server_url", "image_transport", "autostart")
    if cameras and arguments["detectors"] == "one":
        detector[-1]["cameras"] = ParameterValue(",".join(cameras), value_type=str)
        topics = [
            pair
            for name, image in zip(cameras, images.values(), strict=True)
            for pair in remap(image, f"{name}/")
        ]
        namespace = arguments["namespace"]
        nodes = [node("mask_detector", namespace, ours, detector, remappings=topics)]
    else:
        nodes = [node("mask_detector", namespace, ours, detector) for namespace in namespaces]
    if arguments["camera"] == "source":
        source = parameters(camera_file, "source")
        nodes += [node("image_source", namespace, ours, source) for namespace in namespaces]
    if arguments["camera"] == "v4l2":
        require_package("v4l2_camera", "camera:=v4l2")
        devices = spread(arguments, "video_device", len(namespaces))
        if not camera_file or any(devices):
            require_distinct("video_device", [device or "/dev/video0" for device in devices])
        for namespace, device in zip(namespaces, devices, strict=True):
            values = parameters(camera_file)
            if device:
                values[-1]["video_device"] = parameter_value("video_device", device)
            nodes.append(node("v4l2_camera_node", namespace, "v4l2_camera", values))
    if arguments["rviz"].lower() == "true":
        require_package("rviz2", "rviz:=true")
        options = {
            "arguments": ["-d", str(CONFIG / "mask.rviz")],
            # The topic in rviz's configuration is absolute; remap it into the namespace, or into
            # that of the first of several cameras.
            "remappings": [(f"/{ANNOTATED_TOPIC}", ANNOTATED_TOPIC)],
        }
        nodes.append(node("rviz2", namespaces[0], "rviz2", parameters([]), **options))
    return nodes


def check_names(arguments: dict[str, str]) -> None:
    """Check the names among the launch arguments; rcl's own error does not name the argument."""
    names = (ROS_NAMES, "names of letters, digits, _ and /, separated by commas")
    namespace = (f"({ROS_NAME})?/?", "letters, digits and _, with / between parts")
    rules = {"cameras": names, "namespace": namespace, "image": names}
    for name, (pattern, rule) in rules.items():
        if not re.fullmatch(pattern, arguments[name], re.ASCII):
            raise ValueError(f"{name} must be {rule}, got {arguments[name]!r}")


def find_file(arguments: dict[str, str], name: str) -> list[str]:
    """The file that a launch argument names, in a list; an empty list if it is empty."""
    if not arguments[name]:
        return []
    path = Path(arguments[name]).expanduser()
    if not path.is_file():
        # launch_ros would continue without it, after a warning that is easily missed.
        raise FileNotFoundError(f"{name}:={path} is not a file; give an existing one")
    return [str(path)]


def remap(image: str, camera: str = "") -> list[tuple[str, str]]:
    """The remapping rules for a launched camera's images, raw and compressed."""
    topic = image if image.startswith("/") else f"{camera}{image}"
    return [(f"{camera}image_raw{end}", f"{topic}{end}") for end in ("", "/compressed")]


def spread_images(arguments: dict[str, str], count: int) -> list[str]:
    """The image topic of each camera in the launch arguments."""
    if "," in arguments["image"]:
        return spread(arguments, "image", count)
    if count > 1 and arguments["image"].startswith("/"):
        raise ValueError(
            "with cameras, image must be relative to each camera, or name one topic per camera, "
            f"separated by commas; got {arguments['image']}"
        )
    return [arguments["image"]] * count


def join_names(*names: str) -> str:
    """Join the parts that are not empty to the namespace of a launched node."""
    return posixpath.join(*names).rstrip("/")


def spread(arguments: dict[str, str], name: str, count: int) -> list[str]:
    """The comma-separated values of a launch argument, one per camera; empty strings without
    any."""
    values = arguments[name].split(",") if arguments[name] else [""] * count
    if len(values) != count:
        given, wanted = count_of(len(values), "value"), count_of(count, "camera")
        raise ValueError(f"{name} has {given} for {wanted}; give one for each")
    values = [value.strip() for value in values]
    if arguments[name] and "" in values:
        raise ValueError(f"{name}:={arguments[name]} has an empty value; give one for each camera")
    return values


def parameter_value(name: str, text: str) -> bool | ParameterValue:
    """A launch argument in its parameter's type; YAML would make a source 0 a number."""
    if name in ("autostart", "use_sim_time"):
        return text.lower() == "true"
    return ParameterValue(text, value_type=str)


def restrict_discovery(context: LaunchContext) -> list[SetEnvironmentVariable]:
    """The variable that limits discovery to this machine, with launch's local:=true."""
    if context.launch_configurations["local"].lower() != "true":
        return []
    if os.environ.get("ROS_DISTRO") == "humble":
        return [SetEnvironmentVariable("ROS_LOCALHOST_ONLY", "1")]
    return [SetEnvironmentVariable("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")]


def generate_launch_description() -> LaunchDescription:
    """The entry point of the launch file that `ros2 launch` calls."""
    environment = [
        SetEnvironmentVariable(name, value)
        for name, value in image_environment(CONFIG, os.environ).items()
    ]
    # The group keeps the environment from other nodes of a launch file that includes this one.
    restriction = OpaqueFunction(function=restrict_discovery)
    nodes = GroupAction([*environment, restriction, OpaqueFunction(function=start_nodes)])
    return LaunchDescription([*ARGUMENTS, nodes])
