# SPDX-License-Identifier: Apache-2.0
"""Which parameter changes a running node accepts."""

from collections.abc import Iterable, Mapping
from typing import Any

import rclpy.parameter
from rcl_interfaces.msg import SetParametersResult

from mask_detector_ros.errors import ParameterError
from mask_detector_ros.models import DETECTORS, OWN_LABELS, read_manifest
from mask_detector_ros.parameter_type import Parameter
from mask_detector_ros.ros.node_parameters import PATH_LOCK, plain_value

SERVER_LOCKED = (
    *("server_url", "server_ca", "server_token_file", "server_certificate", "server_key"),
)
"""Another node must not choose where images go, or name files."""


def check_changes(
    table: Iterable[Parameter],
    changes: Iterable[rclpy.parameter.Parameter],
    values: Mapping[str, Any],
    configured: bool,
) -> SetParametersResult:
    """Check parameter changes of a running node: whether all together are allowed, and the reason
    if not.

    Args:
        values: the current values; unchanged ones (`ros2 param load`) do not count as changes.
        configured: whether models are loaded, so that only live parameters can change.
    """
    known = {parameter.name: parameter for parameter in table}
    for change in changes:
        parameter = known.get(change.name)
        if parameter is None:
            continue
        try:
            changed = parameter.check(plain_value(change)) != values[change.name]
        except ParameterError as error:
            return SetParametersResult(successful=False, reason=str(error))
        if configured and changed and not parameter.live:
            reason = f"{change.name} is fixed while the node is configured; clean it up first"
            return SetParametersResult(successful=False, reason=reason)
        if changed and (reason := _why_locked(change.name, plain_value(change), values)):
            return SetParametersResult(successful=False, reason=reason)
    return SetParametersResult(successful=True)


def _why_locked(name: str, value: Any, values: Mapping[str, Any]) -> str:
    """Why another node may not set a parameter to this value; empty if it may."""
    if name == PATH_LOCK:
        return f"{name} is fixed at start"
    shipped = {
        "detector_model": {*DETECTORS},
        "classifier_model": {OWN_LABELS, *read_manifest()},
        "engine_cache_dir": {""},
        **{server: {""} for server in SERVER_LOCKED},
    }
    if name not in shipped or value in shipped[name] or values.get(PATH_LOCK, True):
        return ""
    return f"{name} is fixed at start; start the node with {PATH_LOCK}:=true"
