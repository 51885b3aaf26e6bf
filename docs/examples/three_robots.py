# SPDX-License-Identifier: Apache-2.0
"""Three simulated robots, each with a camera and a detector that uses one server.

    .venv/bin/python docs/examples/three_robots.py 127.0.0.1:8001

Prints every two seconds how many frames a second each robot processes, and on what. Ctrl-C ends it.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import ExternalShutdownException

from mask_detector_ros.ros.demo.graph import graph_environment

ROBOTS = ("anna", "ben", "carla")
RATE = 10.0


def start(name: str, module: str, *parameters: str) -> subprocess.Popen[bytes]:
    """Start a node of the package in the namespace of one of the three robots."""
    command = [sys.executable, "-m", f"mask_detector_ros.ros.{module}", "--ros-args"]
    command += ["-r", f"__ns:=/{name}", "--log-level", "error"]
    for parameter in parameters:
        command += ["-p", parameter]
    return subprocess.Popen(command)


def main(arguments: Sequence[str]) -> int:
    """Run until Ctrl-C; return the exit code."""
    if len(arguments) != 1:
        print("usage: three_robots.py HOST:PORT", file=sys.stderr)
        return 2
    os.environ.update(graph_environment())
    processes = []
    shown: dict[str, str] = {}

    def note(message: DiagnosticArray) -> None:
        for status in message.status:
            values = {pair.key: pair.value for pair in status.values}
            if "backend" in values:
                robot = status.name.split("/")[0]
                shown[robot] = f"{values.get('rate [Hz]', '0')} Hz {values['backend']}"

    rclpy.init()
    node = rclpy.create_node("robot_watch")
    node.create_subscription(DiagnosticArray, "/diagnostics", note, 10)
    with contextlib.suppress(KeyboardInterrupt, ExternalShutdownException):
        for name in ROBOTS:
            detector = [f"server_url:={arguments[0]}", "threads:=1"]
            processes.append(start(name, "mask_detector_node", *detector))
            processes.append(start(name, "image_source_node", "source:=sample", f"rate:={RATE}"))
        printed = time.monotonic()
        while all(process.poll() is None for process in processes):
            rclpy.spin_once(node, timeout_sec=0.2)
            if shown and time.monotonic() - printed >= 2:
                printed = time.monotonic()
                print(" | ".join(f"{name} {shown[name]}" for name in sorted(shown)), flush=True)
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGINT)
    for process in processes:
        process.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
