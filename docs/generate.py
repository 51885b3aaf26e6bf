# SPDX-License-Identifier: Apache-2.0
"""Hooks of the docs site: generate reference pages from the code.

`reference/launch.md` comes from the arguments that the launch file declares and
`reference/commands.md` from the parsers of `mask-detector`. `reference/parameters.md` is in the
repository; `python -m mask_detector_ros.ros.node_parameters` writes it.
"""

import argparse
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock, patch

from mask_detector_ros.cli import build_parser

ROOT = Path(__file__).absolute().parents[1]


def on_files(files: Any, config: Any) -> Any:
    """MkDocs hook: add the generated reference pages to the site."""
    from mkdocs.structure.files import File

    for name, text in render_pages().items():
        files.append(File.generated(config, f"reference/{name}", content=text))
    return files


def render_pages() -> dict[str, str]:
    """Generate the Markdown of each reference page of the docs, by file name."""
    # The commands first: NumPy must not be imported for the first time while the launch file has
    # its stand-ins, since it cannot be imported again after them.
    return {"commands.md": render_commands(), "launch.md": render_launch()}


def render_launch() -> str:
    """Generate the docs page of the launch arguments."""
    rows = [f"| `{name}` | {default} | {text} |" for name, default, text in launch_arguments()]
    return "\n".join(
        [
            "# Launch arguments",
            "",
            "    ros2 launch mask_detector_ros mask.launch.py camera:=v4l2 backend:=onnxruntime",
            "",
            "`ros2 launch mask_detector_ros mask.launch.py --show-args` prints this list. An empty",
            "argument leaves its parameter to the parameter file of its node.",
            "",
            "| argument | default | meaning |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )


def launch_arguments() -> Iterator[tuple[str, str, str]]:
    """Name, default and description of each launch argument, for its docs page.

    The launch file runs with a stand-in for `launch`, which need not be installed.
    """
    stand_in = MagicMock()
    stand_in.actions.DeclareLaunchArgument = lambda name, **options: {"name": name, **options}
    modules = ("launch", "launch.actions", "launch_ros", "launch_ros.actions", "ament_index_python")
    modules += ("launch_ros.parameter_descriptions", "ament_index_python.packages")
    stand_ins = {
        name: stand_in.actions if name == "launch.actions" else stand_in for name in modules
    }
    with patch.dict(sys.modules, stand_ins):
        declared = runpy.run_path(str(ROOT / "launch" / "mask.launch.py"))["ARGUMENTS"]
    for argument in declared:
        default = argument.get("default_value", "").removeprefix(f"{ROOT}/")
        choices = ", ".join(f"`{choice}`" for choice in argument.get("choices") or () if choice)
        text = (
            f"{argument['description']}. One of {choices}." if choices else argument["description"]
        )
        yield argument["name"], default and f"`{default}`", " ".join(text.split())


def render_commands() -> str:
    """Generate the docs page of `mask-detector` and its commands."""
    parts = [
        """# Commands

`pip install .` installs `mask-detector`, which needs neither ROS nor a GPU. This page lists what
`mask-detector COMMAND -h` prints. Exit codes: 0 done, 1 failed or incomplete, 2 wrong use, 130
interrupted.
"""
    ]
    for name, parser in subcommands(build_parser()):
        parts += [f"## mask-detector {name}\n", f"{parser.description or ''}\n"]
        for group in parser._action_groups:
            rows = [row for action in group._group_actions if (row := option_row(action))]
            if rows:
                title = (group.title or "").capitalize()
                parts += [f"**{title}**\n", "| option | meaning |", "|---|---|", *rows, ""]
    return "\n".join(parts)


def subcommands(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yield each command of a parser with its own parser, for the docs page; of commands with
    commands only these."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                nested = [(f"{name} {inner}", each) for inner, each in subcommands(command)]
                yield from nested or [(name, command)]


def option_row(action: argparse.Action) -> str:
    """One row of a docs page's table of options; empty for `-h`."""
    if isinstance(action, argparse._HelpAction) or action.help == argparse.SUPPRESS:
        return ""
    names = (
        ", ".join(f"`{name}`" for name in action.option_strings)
        or f"`{action.metavar or action.dest}`"
    )
    if action.choices:
        value = "{" + ",".join(map(str, action.choices)) + "}"
    else:
        value = action.metavar if isinstance(action.metavar, str) else ""
    takes_value = action.option_strings and action.nargs != 0
    shown = f"{names} {value}" if takes_value and value else names
    text = (action.help or "").replace("%%", "%").replace("|", "\\|")
    return f"| {shown} | {text} |"
