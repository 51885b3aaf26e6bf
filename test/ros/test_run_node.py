# SPDX-License-Identifier: Apache-2.0
"""A node's process handles errors."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from waiting import LIMIT, wait_until

pytest.importorskip("rclpy", reason="needs ROS 2: run `make setup`")

import rclpy
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node

from mask_detector_ros.ros import run_node as run_node_module
from mask_detector_ros.ros.parameter_files import unmatched_files
from mask_detector_ros.ros.start_errors import explain_start_error


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("failed to initialize rcl: Couldn't parse params file: 'x'", "wrong ROS arguments"),
        ("failed to initialize logging: Failed to create log directory", "set ROS_LOG_DIR"),
        ("dlopen error: x.so: cannot open shared object file: Too many open files", "ulimit -n"),
        ("error creating node: something else", "ROS could not start: error creating node"),
    ],
)
def test_each_cause_of_a_failed_start_has_words_of_its_own(text: str, said: str) -> None:
    told = explain_start_error(rclpy_implementation.RCLError(f"{text}\nmore lines"))
    assert said in told
    assert "\n" not in told


@pytest.mark.parametrize(
    ("variables", "arguments", "said"),
    [
        ({"ROS_LOG_DIR": "/proc/nowhere"}, (), "error: the log cannot be written; set ROS_LOG_DIR"),
        ({}, ("--bogus",), "error: wrong ROS arguments: "),
        ({}, ("--params-file", "/nowhere.yaml"), "/nowhere.yaml cannot be opened; give"),
        ({}, ("-r", "image_raw:=a b"), "'image_raw:=a b' is not a remap rule; write FROM:=TO"),
        ({}, ("--remap", "image-raw:=/x"), "'image-raw:=/x' is not a remap rule; write FROM:=TO"),
        ({}, ("-r", "__ns:=bad-ns"), "'bad-ns' is not a namespace; write /"),
        ({}, ("-r", "__node:=bad-name"), "'bad-name' is not a node name; write letters"),
        ({}, ("-r",), "nothing follows -r;"),
        ({}, ("-p", "rate=4"), "'rate=4' sets no parameter; write NAME:=VALUE"),
        ({}, ("--log-level", "loud"), "'loud' is not a log level; use debug"),
        ({"ROS_DOMAIN_ID": "999"}, (), "error: ROS_DOMAIN_ID must be from 0 to 232"),
    ],
)
def test_a_failed_start_is_one_line(
    graph: Any, variables: dict[str, str], arguments: tuple[str, ...], said: str
) -> None:
    graph.environment.update(variables)
    process = graph.start("recorder_node", *arguments)
    assert process.wait(LIMIT) == 1
    output = graph.output(process)
    assert said in output
    assert output.count("\n") == 1, "nothing else, such as rcl's own words"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("min_face_size: 40\n", "has a value above ros__parameters (line 1); write the parameters"),
        ("recorder:\n  x: 4\n", "has a value above ros__parameters (line 2); write the parameters"),
        ("recorder:\n  ros__parameters:\n    x: [1, 0.5]\n", "list of mixed types (line 3)"),
        ("recorder:\n\tx: 4\n", "is not a YAML file of parameters (Error parsing a event near"),
    ],
)
def test_a_wrong_parameter_file_is_one_line(
    graph: Any, tmp_path: Path, content: str, said: str
) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(content)
    process = graph.start("recorder_node", "--params-file", str(file))
    assert process.wait(LIMIT) == 1
    assert f"{file} " in graph.output(process)
    assert said in graph.output(process)
    assert graph.output(process).count("\n") == 1


@pytest.mark.parametrize(
    ("key", "matches"),
    [
        ("mask_detector", True),
        ("/mask_detector", False),
        ("/front/mask_detector", True),
        ("/**", True),
        ("/**/mask_detector", True),
        ("/*/mask_detector", True),
        ("/*", False),
        ("mask_detektor", False),
        ("/front/*", True),
    ],
)
def test_a_file_of_other_nodes_is_named(tmp_path: Path, key: str, matches: bool) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(f"{key}:\n  ros__parameters:\n    min_face_size: 40\n")
    arguments = ["node", "--ros-args", "--params-file", str(file)]
    name = "/front/mask_detector" if key != "mask_detector" else "/mask_detector"
    warnings = list(unmatched_files(arguments, name))
    assert len(warnings) == (not matches)
    for warning in warnings:
        assert f"its keys are /{key.strip('/')}; write /front/mask_detector: or /**/" in warning


def test_namespaces_of_a_file_may_be_nested(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("front:\n  mask_detector:\n    ros__parameters:\n      min_face_size: 40\n")
    arguments = ["--ros-args", "--params-file", str(file)]
    assert not list(unmatched_files(arguments, "/front/mask_detector"))
    assert "keys are /front/mask_detector" in next(unmatched_files(arguments, "/mask_detector"))
    assert not list(unmatched_files(["--params-file", str(tmp_path)], "/x"))


def test_a_negative_clock_ends_no_node(graph: Any) -> None:
    from detector_client import make_image
    from rosgraph_msgs.msg import Clock
    from sensor_msgs.msg import Image
    from vision_msgs.msg import Detection2DArray

    process = graph.start("mask_detector_node", threads=1, use_sim_time=True)
    client = graph.client()
    detections = client.listen(Detection2DArray, "/mask_detector/detections")
    clock = client.advertise(Clock, "/clock", 10)
    images = client.advertise(Image, "/image_raw", 10)
    message = Clock()
    message.clock.sec = -5
    wait_until(
        lambda: clock.publish(message) or "a callback failed (1 so far)" in graph.output(process),
        what="the error in the log",
    )
    for _ in range(300):
        clock.publish(message)
        time.sleep(0.002)
    message.clock.sec = 5
    clock.publish(message)
    black = make_image(np.zeros((48, 64, 3), np.uint8))
    wait_until(lambda: images.publish(black) or detections, what="results all the same")
    assert process.poll() is None


@pytest.mark.parametrize("is_rcl", [True, False])
def test_only_errors_of_rcl_itself_end_the_process(
    is_rcl: bool, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "OFF")
    monkeypatch.setattr(run_node_module, "MAX_FAILURES", 3)

    class Broken(Node):
        failed = False
        callback_errors = 0

        def __init__(self) -> None:
            super().__init__("broken")

        def start(self) -> None:
            self.create_timer(0.001, self.fail)

        def fail(self) -> None:
            if self.callback_errors > 20:
                rclpy.shutdown()
            raise (rclpy_implementation.RCLError if is_rcl else KeyError)("a bug")

        def close(self) -> None:
            self.destroy_node()

    assert run_node_module.run_node(Broken, []) == (1 if is_rcl else 0)
    written = "".join(capfd.readouterr())
    kind = "RCLError: a bug" if is_rcl else "KeyError: 'a bug'"
    assert f"a callback failed (1 so far): {kind}; continuing" in written
    assert ("error: ROS could not start: a bug" in written) is is_rcl


def test_a_signal_while_a_node_starts_is_neither_an_error_nor_a_traceback(graph: Any) -> None:
    process = graph.start("mask_detector_node", threads=1)
    # Python maps our package's first module long before the node has handlers.
    maps = Path(f"/proc/{process.pid}/maps")
    wait_until(lambda: "cv2" in maps.read_text(), what="the imports")
    process.send_signal(signal.SIGINT)
    assert process.wait(LIMIT) in (0, -signal.SIGINT)
    output = graph.output(process)
    assert "Traceback" not in output
    assert "ERROR" not in output


@pytest.mark.parametrize("files", [8, 16, 31])
def test_too_few_files_are_one_line(files: int) -> None:
    """Fast DDS would report each file in separate lines."""
    limit = (resource.RLIMIT_NOFILE, (files, files))
    done = subprocess.run(
        [sys.executable, "-m", "mask_detector_ros.ros.mask_detector_node"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(*limit),
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"error: this process may open {files} files and needs 32; raise their limit with"
        " `ulimit -n 1024`"
    ]
