"""The `mask-detector` command: one module a subcommand."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from mask_detector_ros import __version__
from mask_detector_ros.cli import bag, benchmark, evaluate, image, models, video
from mask_detector_ros.cli.command import Parser, run_command


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = Parser(
        prog="mask-detector",
        description="Find faces and say who wears a mask, in pictures and videos, without ROS.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for module in (image, video, bag, evaluate, benchmark, models):
        module.add_parser(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 0 done, 1 failed, 2 wrong use."""
    arguments = build_parser().parse_args(argv)
    return run_command(lambda: int(arguments.run(arguments)))
