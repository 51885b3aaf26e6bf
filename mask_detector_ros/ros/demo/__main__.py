# SPDX-License-Identifier: Apache-2.0
"""`make demo`: camera node, detector node and recorder as processes, and a report.

python -m mask_detector_ros.ros.demo [--source SOURCE] [--out DIR] [--duration SECONDS] [--view]
"""

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path

from mask_detector_ros.cli.command import Parser, run_command
from mask_detector_ros.errors import BackendError, ParameterError
from mask_detector_ros.ros.demo.files import DemoFiles, inspect_source
from mask_detector_ros.ros.demo.report import print_report, read_records
from mask_detector_ros.sources import SAMPLE

NEEDED_PACKAGES = ("rclpy", "sensor_msgs", "vision_msgs", "mask_detector_ros.msg")


def main(argv: list[str] | None = None) -> int:
    """Run the demo; the exit code is 0 on success."""
    parser = Parser(prog="make demo", description=__doc__.splitlines()[0])
    parser.add_argument("--source", default=SAMPLE, help="sample, file, folder, device or URL")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the results")
    parser.add_argument("--duration", type=float, help="seconds to play; a file plays to its end")
    parser.add_argument(
        "--without-ros", action="store_true", help="run only the library, without ROS"
    )
    parser.add_argument("--view", action="store_true", help="show the run in a web page")
    arguments = parser.parse_args(argv)
    if arguments.duration is not None and arguments.duration <= 0:
        parser.error(f"--duration must be more than 0 seconds, got {arguments.duration:g}")
    return run_command(lambda: run(arguments))


def run(arguments: argparse.Namespace) -> int:
    """Run the demo: play the source, write the files and print the report."""
    files, without_ros = DemoFiles(arguments.out), arguments.without_ros
    if arguments.view and find_spec("rerun") is None:
        raise BackendError("VIEW needs the package rerun-sdk; run: .venv/bin/pip install rerun-sdk")
    seen = inspect_source(arguments.source, arguments.duration)
    if seen.path is not None and any(seen.path.samefile(f) for f in files if f.exists()):
        raise ParameterError(f"{seen.path} would be replaced by the demo; give another OUT=folder")
    if without_ros or missing_packages():
        reason = f"{', '.join(missing_packages())} missing" if not without_ros else "as asked"
        print(f"without ROS ({reason}): playing {seen.shown} with the library alone", flush=True)
        from mask_detector_ros.ros.demo.without_ros import run_library as play
    else:
        from mask_detector_ros.ros.demo.graph import run_graph as play
    play(seen, files, arguments.view)
    print_report(read_records(files.log), timed=seen.paced_by_clock)
    print(f"\nwritten: {files.video}, {files.log}")
    return 0


def missing_packages() -> list[str]:
    """The ROS packages that the demo's nodes need and this Python lacks."""
    return [name for name in NEEDED_PACKAGES if find_spec(name) is None]


if __name__ == "__main__":
    sys.exit(main())
