# SPDX-License-Identifier: Apache-2.0
"""Command-line options shared by several commands: the parameters of detector, tracker and
drawing."""

import argparse
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mask_detector_ros.detector import MaskDetector
from mask_detector_ros.errors import ParameterError
from mask_detector_ros.inference import SERVER_BACKENDS
from mask_detector_ros.parameter_type import Parameter
from mask_detector_ros.parameters import (
    DETECTOR_PARAMETERS,
    LOCAL_PARAMETERS,
    SERVER_PARAMETERS,
    check_parameters,
)

FILE_DEFAULTS = {"max_faces": 0, "max_candidates": 2000}
"""Defaults for files of parameters that bound a frame's time."""

UNHURRIED = {"server_deadline": 30.0, "server_patience": 30.0}
"""Defaults for files and bags, where no frame may be dropped because a server is busy."""


def add_detector_options(
    parser: argparse.ArgumentParser, defaults: Mapping[str, Any] = UNHURRIED
) -> None:
    """Add one command-line option for each detector parameter, named like it, and `--server`.

    `defaults` holds the values that differ from the table's, by name.
    """
    local, server = (
        [replace(p, default=defaults.get(p.name, p.default)) for p in table]
        for table in (LOCAL_PARAMETERS, SERVER_PARAMETERS)
    )
    add_options(parser, "detector", local)
    parser.add_argument(
        "--server",
        action=UseServer,
        default=argparse.SUPPRESS,
        metavar="URL",
        help="run the networks on this inference server: short for --backend triton --server-url"
        " URL",
    )
    add_options(parser, "server", server)
    parser.set_defaults(**defaults)


def add_file_detector_options(parser: argparse.ArgumentParser) -> None:
    """Add the detector options of a command for files, where no face is left out unless that is
    asked for."""
    add_detector_options(parser, {**FILE_DEFAULTS, **UNHURRIED})


class UseServer(argparse.Action):
    """Action of the option `--server`: selects an inference server, and its backend unless another
    one is given."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        namespace.server_url = values
        if "backend" not in namespace:
            namespace.backend = SERVER_BACKENDS[0]


def add_options(parser: argparse.ArgumentParser, title: str, table: Iterable[Parameter]) -> None:
    """Add one command-line option for each parameter of a table, named like it."""
    group = parser.add_argument_group(title)
    for parameter in table:
        options: dict[str, Any] = {"type": type(parameter.default)}
        if isinstance(parameter.default, bool):
            options = {"action": argparse.BooleanOptionalAction}
        elif isinstance(parameter.default, tuple):
            options = {"type": float, "nargs": len(parameter.default), "metavar": "T"}
        elif parameter.choices:
            options["choices"] = parameter.choices
        else:
            options["metavar"] = parameter.unit.upper() or "VALUE"
        shown = parameter.default
        if isinstance(shown, tuple):
            shown = " ".join(map(str, shown))
        group.add_argument(
            f"--{parameter.name.replace('_', '-')}",
            dest=parameter.name,
            default=argparse.SUPPRESS,
            help=parameter.description.replace("%", "%%")
            + ("" if shown == "" else f" Default: {shown}."),
            **options,
        )


def detector_parameters(*names: str) -> tuple[Parameter, ...]:
    """Select some rows of the table of detector parameters, for commands whose options need only
    these."""
    return tuple(p for p in DETECTOR_PARAMETERS if p.name in names)


def load_detector(
    arguments: argparse.Namespace, cancelled: Callable[[], bool] = lambda: False
) -> MaskDetector:
    """Load the detector that the command-line options describe; `cancelled` as in
    `MaskDetector.load`."""
    values = option_values(arguments, DETECTOR_PARAMETERS)
    return MaskDetector.load(cancelled=cancelled, **values)


def option_values(arguments: argparse.Namespace, table: tuple[Parameter, ...]) -> dict[str, Any]:
    """The value of every parameter of a table: that of the command-line option, checked, or the
    default."""
    given = vars(arguments)
    return check_parameters(table, {p.name: given[p.name] for p in table if p.name in given})


def describe_counts(counts: dict[str, int], nothing: str = "no face") -> str:
    """Counts by label in words, such as `2 with mask, 1 without mask`."""
    parts = [f"{count} {name.replace('_', ' ')}" for name, count in counts.items() if count]
    return ", ".join(parts) or nothing


def make_report_folder(name: str | None) -> Path | None:
    """Make the folder that the option for a report names, so that a wrong name fails before the
    long work."""
    if name is None:
        return None
    from mask_detector_ros.evaluation.plots import require_matplotlib

    require_matplotlib()
    folder = Path(name).expanduser()
    try:
        (folder / "plots").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ParameterError(f"cannot make the folder {folder} ({error.strerror})") from error
    return folder
