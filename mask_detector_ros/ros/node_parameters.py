# SPDX-License-Identifier: Apache-2.0
"""The node's parameters: the detector's and its own, declared with descriptors and checked.

    python -m mask_detector_ros.ros.node_parameters

writes `config/mask_detector.yaml` and the docs' page from the one table below; a test
fails when they differ from it.
"""

import array
import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import rclpy.parameter
import yaml
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import ParameterException
from rclpy.node import Node

from mask_detector_ros.errors import ParameterError
from mask_detector_ros.parameter_type import Parameter
from mask_detector_ros.parameters import (
    DETECTOR_PARAMETERS,
    DRAWING_PARAMETERS,
    TRACKING_PARAMETERS,
)
from mask_detector_ros.ros.subscription import RELIABILITIES, TRANSPORTS

# rcl's rule for names.
ROS_NAME = r"/?[A-Za-z]\w*(/[A-Za-z]\w*)*"
ROS_NAMES = rf"({ROS_NAME}( *, *{ROS_NAME})*)?"
_NAMES: dict[str, Any] = {
    "pattern": ROS_NAMES,
    "rule": "names of letters, digits, _ and /, separated by commas or as a list",
    "is_list": True,
}

PATH_LOCK = "allow_path_changes"

NODE_PARAMETERS = (
    *DETECTOR_PARAMETERS,
    *TRACKING_PARAMETERS,
    Parameter(
        "alert_after",
        0.0,
        "Time without a mask after which a person is reported once on ~/alerts; 0 means never.",
        limits=(0.0, 3600.0),
        unit="s",
        live=True,
    ),
    Parameter(
        "alert_labels",
        "without_mask",
        "Labels that count as without a mask for alerts, separated by commas: names or roles.",
        is_list=True,
        live=True,
    ),
    *DRAWING_PARAMETERS,
    Parameter(
        "cameras",
        "",
        "Names of several cameras, such as front or left/rear. NAME/image_raw goes to "
        "NAME/mask_detector/detections and so on, with one set of models. Empty means one camera.",
        **_NAMES,
    ),
    Parameter(
        "camera_topics",
        "",
        "Image topic of each camera, in the order of cameras; empty means NAME/image_raw.",
        **_NAMES,
    ),
    Parameter(
        "depth_topics",
        "",
        "Registered depth image topic of each of the cameras, for ~/faces_3d; empty means that "
        "the distance is estimated from the face size.",
        **_NAMES,
    ),
    Parameter(
        "image_transport",
        "auto",
        "Whether to subscribe to image_raw or to image_raw/compressed; auto uses image_raw if a "
        "node publishes it, and image_raw/compressed otherwise.",
        choices=TRANSPORTS,
    ),
    Parameter(
        "image_reliability",
        "auto",
        "Reliability QoS of the image subscription; auto matches the publishers.",
        choices=RELIABILITIES,
    ),
    Parameter(
        "image_timeout",
        5.0,
        "Time without an image after which the node warns and names the publishers of the topic.",
        limits=(0.1, 3600.0),
        unit="s",
        live=True,
    ),
    Parameter(
        "frame_timeout",
        5.0,
        "Maximum time for one image. After it diagnostics report an error: a frame is stuck, or "
        "images arrive without a result.",
        limits=(0.1, 3600.0),
        unit="s",
        live=True,
    ),
    Parameter(
        "recover",
        False,
        "Reload the models when a frame is stuck for three times frame_timeout; not with "
        "TensorRT, because a stuck frame may still hold the GPU.",
        live=True,
    ),
    Parameter(
        PATH_LOCK,
        False,
        "Let other nodes set server_url, and parameters that name files; they can always choose a "
        "model of the package. Fixed at start.",
    ),
    Parameter(
        "autostart",
        True,
        "Configure and activate at start; false leaves that to a lifecycle manager.",
    ),
)

ROOT = Path(__file__).parents[2]


def descriptor(parameter: Parameter) -> ParameterDescriptor:
    """The descriptor of a node's parameter, which `ros2 param describe` shows."""
    when = "live" if parameter.live else "fixed while the node is configured"
    message = ParameterDescriptor(
        description=parameter.description,
        additional_constraints=f"{parameter.allowed}; {when}",
        # The table checks types: it accepts 1 for 1.0, and its errors say what is allowed.
        dynamic_typing=True,
    )
    if parameter.limits is None:
        return message
    low, high = parameter.limits
    if isinstance(parameter.default, int):
        message.integer_range = [IntegerRange(from_value=int(low), to_value=int(high))]
    elif isinstance(parameter.default, float):
        message.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
    return message


def declare_parameters(node: Node, table: Iterable[Parameter]) -> None:
    """Declare every parameter of the table on the node.

    Raises:
        ParameterError: the value given at start is not allowed.
    """
    for parameter in table:
        default = parameter.default
        if isinstance(default, tuple):
            default = list(default)
        try:
            given = node.declare_parameter(parameter.name, default, descriptor(parameter))
        except ParameterException as error:
            raise ParameterError(f"{parameter.name} must be {parameter.allowed}") from error
        parameter.check(plain_value(given))
    for name in sorted(_unknown_overrides(node)):
        node.get_logger().warning(f"unknown parameter {name} is ignored{_suggest(name, table)}")


def _unknown_overrides(node: Node) -> set[str]:
    """The parameters given at start that were not declared.

    Those that override QoS are declared later, with their publishers.
    """
    given = given_parameters(node)
    return {n for n in given if not node.has_parameter(n) and not n.startswith("qos_overrides.")}


def given_parameters(node: Node) -> dict[str, rclpy.parameter.Parameter]:
    """The node parameters given at start, by name."""
    # rclpy has no public name for them.
    return getattr(node, "_parameter_overrides", {})


def _suggest(name: str, table: Iterable[Parameter]) -> str:
    near = difflib.get_close_matches(name, [p.name for p in table], n=1)
    return f"; did you mean {near[0]}?" if near else "; `ros2 param list` shows all"


def plain_value(parameter: rclpy.parameter.Parameter) -> Any:
    """Convert the value of a node's parameter to the table's type."""
    # rclpy has no value for an empty list of a YAML file.
    value = () if parameter.value is None else parameter.value
    return tuple(value) if isinstance(value, array.array | list) else value


def parameter_values(node: Node, table: Iterable[Parameter]) -> dict[str, Any]:
    """The node's current value of every parameter of the table, by name."""
    return {p.name: p.check(plain_value(node.get_parameter(p.name))) for p in table}


def split_names(text: str) -> list[str]:
    """Split a node parameter that is a comma-separated list into its distinct names."""
    return [name.strip() for name in text.split(",") if name.strip()]


def render_yaml(table: Iterable[Parameter]) -> str:
    """Generate `config/mask_detector.yaml` from the table of the node's parameters."""
    lines = [
        "# Every parameter of mask_detector with its default; pass your copy as params_file.",
        "# Written by `python -m mask_detector_ros.ros.node_parameters`.",
        "# The key is our node in any namespace; under /** alone, other nodes would take these.",
        "/**/mask_detector:",
        "  ros__parameters:",
    ]
    for parameter in table:
        when = "live" if parameter.live else "fixed"
        unit = f" [{parameter.unit}]" if parameter.unit else ""
        lines.append(f"    # {parameter.description}")
        lines.append(f"    # {parameter.allowed}{unit}; {when}")
        lines.append(f"    {parameter.name}: {_yaml_value(parameter.default)}")
    return "\n".join(lines) + "\n"


def render_table(table: Iterable[Parameter]) -> str:
    """Generate a Markdown table of the node's parameters."""
    lines = [
        "| parameter | default | allowed | live | meaning |",
        "|---|---|---|---|---|",
    ]
    for p in table:
        unit = f" {p.unit}" if p.unit else ""
        live = "yes" if p.live else "no"
        default = _yaml_value(p.default)
        lines.append(
            f"| `{p.name}` | {default}{unit} | {p.allowed}{unit} | {live} | {p.description} |"
        )
    return "\n".join(lines) + "\n"


def _yaml_value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) and yaml.safe_load(value) != value:
        return f'"{value}"'
    return str(list(value)) if isinstance(value, tuple) else str(value)


def render_page(table: Iterable[Parameter]) -> str:
    """Generate the docs page of the node's parameters, `docs/reference/parameters.md`."""
    return f"""<!-- Written by `python -m mask_detector_ros.ros.node_parameters` from its table. -->
# Parameters

The node `mask_detector` declares these parameters. `config/mask_detector.yaml` lists them with
their defaults: copy it, change what you need, and pass your copy with `params_file:=`.

- A *live* parameter takes effect on the next frame, for example
  `ros2 param set /mask_detector min_face_size 40`.
- The others are fixed while the node is configured. Clean the node up first, or restart it.
- A wrong value is rejected with a reason that names the allowed ones.

The Python API takes the parameters of the detector under the same names
(`MaskDetector.load(min_face_size=40)`), and the commands take them as options
(`mask-detector image --min-face-size 40`).

{render_table(table)}"""


def write_documents() -> None:
    """Write the yaml file and the docs page of the node's parameters."""
    (ROOT / "config" / "mask_detector.yaml").write_text(render_yaml(NODE_PARAMETERS))
    (ROOT / "docs" / "reference" / "parameters.md").write_text(render_page(NODE_PARAMETERS))


if __name__ == "__main__":
    write_documents()
