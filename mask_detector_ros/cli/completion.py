# SPDX-License-Identifier: Apache-2.0
"""`mask-detector completion`: shell completion of commands, options and file names."""

import argparse
from typing import Any

from mask_detector_ros.errors import BackendError

HOW_TO = {
    "bash": "mask-detector completion bash > "
    "~/.local/share/bash-completion/completions/mask-detector",
    "zsh": "mask-detector completion zsh > DIR/_mask-detector, with DIR in $fpath",
}


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "completion",
        help="print the completion script of a shell",
        description="Print a script that makes a shell complete commands and options. "
        + "; ".join(f"{shell}: {line}" for shell, line in HOW_TO.items()),
    )
    parser.add_argument("shell", choices=tuple(HOW_TO), help="the shell to print the script for")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    try:
        import shtab
    except ImportError as error:
        raise BackendError("completion needs the package shtab; run: pip install shtab") from error
    from mask_detector_ros.cli import build_parser

    print(shtab.complete(build_parser(), arguments.shell))
    return 0
