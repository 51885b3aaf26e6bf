# SPDX-License-Identifier: Apache-2.0
"""The `mask-detector` command: one module per subcommand."""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

# NumPy and SciPy each start a thread per processor on import, for work that this command lacks.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from mask_detector_ros import __version__

COMMANDS = (
    *("image", "video", "bag", "serve", "export", "evaluate", "benchmark", "models", "completion"),
)


def build_parser(command: str = "") -> argparse.ArgumentParser:
    """Make the parser of the `mask-detector` command, or of one subcommand if it is known.

    With `command`, modules that only other commands need are not imported.
    """
    from mask_detector_ros.cli.command import Parser

    parser = Parser(
        prog="mask-detector",
        description="Detect faces in images and videos and classify their masks, without ROS.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name in (command,) if command in COMMANDS else COMMANDS:
        import_module(f"{__name__}.{name}").add_parser(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 0 done, 1 failed, 2 wrong use."""
    argv = sys.argv[1:] if argv is None else argv
    # The imports take a second or two, in which Ctrl-C must not end in a traceback.
    try:
        from mask_detector_ros.cli.command import run_command

        arguments = build_parser(argv[0] if argv else "").parse_args(argv)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return run_command(lambda: int(arguments.run(arguments)))
