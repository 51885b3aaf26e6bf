"""`make demo`: camera node, detector node and recorder as processes, and what they saw.

python -m mask_detector_ros.ros.demo [--source SOURCE] [--out DIR] [--duration SECONDS]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mask_detector_ros.errors import MaskDetectorError
from mask_detector_ros.ros.demo.graph import run_graph
from mask_detector_ros.ros.demo.report import print_report, read_records
from mask_detector_ros.sources import SAMPLE


def main(argv: list[str] | None = None) -> int:
    """Run the demo; the exit code is 0 when it went through."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__.splitlines()[0])
    parser.add_argument("--source", default=SAMPLE, help="sample, file, folder, device or URL")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the results")
    parser.add_argument("--duration", type=float, help="seconds; a file plays to its end")
    arguments = parser.parse_args(argv)
    if arguments.duration is not None and arguments.duration <= 0:
        parser.error(f"--duration must be more than 0 seconds, got {arguments.duration:g}")
    try:
        run_graph(arguments.source, arguments.out, arguments.duration)
        records = read_records(arguments.out / "detections.jsonl")
    except MaskDetectorError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print_report(records)
    print(f"\nwritten: {arguments.out / 'annotated.mp4'}, {arguments.out / 'detections.jsonl'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
