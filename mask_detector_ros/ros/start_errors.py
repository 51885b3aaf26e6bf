# SPDX-License-Identifier: Apache-2.0
"""Explain in one line why ROS did not start."""

import re

from mask_detector_ros.ros.distribution import UnknownROSArgsError

_NAMES = "names of letters, digits, _ and /"
_ARGUMENT_ERRORS = (
    (
        r"parse remap rule: '(?:-r|--remap) (?:.*:)?__ns:=(?P<value>.*)'\. Error",
        "{value!r} is not a namespace; write / and " + _NAMES + ", such as -r __ns:=/front",
    ),
    (
        r"parse remap rule: '(?:-r|--remap) (?:.*:)?__(?:node|name):=(?P<value>.*)'\. Error",
        "{value!r} is not a node name; write letters, digits and _, such as -r __node:=front",
    ),
    (
        r"parse remap rule: '(?:-r|--remap) (?P<value>.*)'\. Error",
        "{value!r} is not a remap rule; write FROM:=TO with " + _NAMES + ", such as"
        " -r image_raw:=/camera/image_raw",
    ),
    (
        r"parse parameter override rule: '(?:-p|--param) (?P<value>.*)'\. Error",
        "{value!r} sets no parameter; write NAME:=VALUE, the value in YAML, such as"
        " -p min_face_size:=40",
    ),
    (
        r"parse params file: '--params-file (?P<value>.*)'\. Error: Error opening",
        "{value} cannot be opened; give the path of a YAML file with parameters",
    ),
    (
        r"parse params file: '--params-file (?P<value>.*)'\. Error: Cannot have a value before"
        r" ros__parameters at line (?P<line>\d+)",
        "{value} has a value above ros__parameters (line {line}); write the parameters below"
        " the lines `mask_detector:` and `  ros__parameters:`, as in config/mask_detector.yaml",
    ),
    (
        r"parse params file: '--params-file (?P<value>.*)'\. Error: Sequence should be of same type"
        r".*line_num (?P<line>\d+)",
        "{value} has a list of mixed types (line {line}); write 1.0 for 1 in a list of numbers",
    ),
    (
        r"parse params file: '--params-file (?P<value>.*)'\. Error: (?P<reason>.*?)(?:, at /|$)",
        "{value} is not a YAML file of parameters ({reason}); compare it with"
        " config/mask_detector.yaml",
    ),
    (
        r"parse log level: '--log-level (?P<value>.*)'\. Error",
        "{value!r} is not a log level; use debug, info, warn, error or fatal",
    ),
    (
        r"parse trailing (?P<value>\S+) flag",
        "nothing follows {value}; `ros2 run --help` shows what it takes",
    ),
)
"""Phrases in rcl's errors about arguments, and their meaning."""

_SHORTAGES = (
    ("Too many open files", "too many open files; raise their limit with `ulimit -n 1024`"),
    ("t start new thread", "no more threads can be started; raise their limit with `ulimit -u`"),
    ("Cannot allocate memory", "there is not enough memory; close other programs"),
    ("No space left", "the disk is full; free some space"),
    (
        "initialize logging",
        "the log cannot be written; set ROS_LOG_DIR to a folder that you can write",
    ),
    ("log directory", "the log cannot be written; set ROS_LOG_DIR to a folder that you can write"),
)
"""Phrases in the errors of rcl and of the system, and their meaning."""


def explain_start_error(error: Exception) -> str:
    """One line with the reason why ROS did not start, and the remedy."""
    text = str(error).strip()
    first = text.splitlines()[0] if text else type(error).__name__
    if shortage := explain_shortage(error):
        return shortage
    for pattern, meaning in _ARGUMENT_ERRORS:
        if found := re.search(pattern, text):
            return f"wrong ROS arguments: {meaning.format(**found.groupdict())}"
    if isinstance(error, UnknownROSArgsError) or "arse" in first:
        return f"wrong ROS arguments: {first}"
    return f"ROS could not start: {first}"


def explain_shortage(error: Exception) -> str:
    """Explain in one line a shortage of memory, disk, files or threads at the start; empty for
    other errors."""
    text = str(error).strip()
    for words, advice in _SHORTAGES:
        if words in text:
            return f"{advice} ({text.splitlines()[0]})"
    if isinstance(error, MemoryError):
        return "there is not enough memory; close other programs"
    return ""
