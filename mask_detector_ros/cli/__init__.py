"""The `mask-detector` command: one module a subcommand."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from typing import NoReturn

from mask_detector_ros import __version__
from mask_detector_ros.cli import bag, benchmark, evaluate, image, models, video
from mask_detector_ros.errors import MaskDetectorError, ParameterError

WRONG_USE, FAILURE, INTERRUPTED = 2, 1, 130


class Parser(argparse.ArgumentParser):
    """A parser that says in one line what is wrong, without repeating all options."""

    def error(self, message: str) -> NoReturn:
        """Print the message and leave with the exit code of wrong use."""
        self.exit(WRONG_USE, f"error: {message}; see {self.prog} -h\n")


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
    if isinstance(sys.stdout, TextIOWrapper):
        # A file name need not fit the encoding of the terminal.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code: int = arguments.run(arguments)
        sys.stdout.flush()
    except MaskDetectorError as error:
        print(f"error: {error}", file=sys.stderr)
        return WRONG_USE if isinstance(error, ParameterError) else FAILURE
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output went away (`| head`). Python flushes once more at its end,
        # and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILURE
    return code
