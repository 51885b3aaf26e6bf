# SPDX-License-Identifier: Apache-2.0
"""`mask-detector benchmark`: speed of the detector on this machine, and of its peers."""

import argparse
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from mask_detector_ros.cli.options import make_report_folder
from mask_detector_ros.errors import ParameterError
from mask_detector_ros.evaluation.markdown_report import table_markdown
from mask_detector_ros.evaluation.report_tables import Table
from mask_detector_ros.inference import BACKENDS
from mask_detector_ros.inference.gpu_choice import require_backend
from mask_detector_ros.output_file import write_output
from mask_detector_ros.sources import read_image
from mask_detector_ros.speed import cases as plans
from mask_detector_ros.speed.benchmark_frames import digest, make_frames, source_of
from mask_detector_ros.speed.case_subjects import (
    PEERS,
    Run,
    comparison,
    four_way,
    installed_backends,
)
from mask_detector_ros.speed.cases import LABEL, Case, Size
from mask_detector_ros.speed.cost_plots import draw_cost_plots
from mask_detector_ros.speed.machine import describe_machine
from mask_detector_ros.speed.peer_environments import ENVIRONMENTS
from mask_detector_ros.speed.report import build_rows, count_macs, fit_cost_lines, summarise
from mask_detector_ros.speed.text_tables import build_tables, four_way_table
from mask_detector_ros.speed.throughput import throughput_table
from mask_detector_ros.speed.timing import measure_runs

T = TypeVar("T")

THROUGHPUT_FRAMES = 50
"""Frames per round for each row of `--throughput`."""

AXES = ("sizes", "min_faces", "faces", "threads")


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "benchmark",
        help="measure the speed on this machine",
        description="Measure the speed, interleaved with other packages on the same frames. "
        "Without options it runs a selection that takes a few minutes. With options for sizes, "
        "faces, minimum faces or threads it runs every combination of their values; an axis that "
        "is not given stays at 640x480, 6 faces, minimum face 40, 1 thread. `make bench` in the "
        "repository installs the other packages; missing ones are reported and left out.",
    )
    parser.add_argument(
        "images", nargs="*", metavar="IMAGE", help="your own images, as additional cases"
    )
    what = parser.add_argument_group("what to measure; separate several values by commas")
    what.add_argument("--sizes", type=listed(read_size), metavar="WxH,..", help="frame sizes")
    what.add_argument(
        "--min-faces", type=listed(number(12, 2000)), metavar="PX,..", help="minimum face sizes"
    )
    what.add_argument(
        "--faces", type=listed(number(0, 50)), metavar="N,..", help="numbers of faces in a frame"
    )
    what.add_argument(
        "--threads", type=listed(number(1, 256)), metavar="N,..", help="threads of each subject"
    )
    what.add_argument(
        "--full",
        action="store_true",
        help="an axis that is not given takes all of 640x480,1280x720,1920x1080, minimum faces "
        "20,40,80, faces 0,1,6,20,50 and threads 1,2: many hours",
    )
    what.add_argument(
        "--four-way",
        action="store_true",
        help="instead: vanilla and accelerated MTCNN and classifier, and the Python code compiled",
    )
    what.add_argument(
        "--throughput",
        action="store_true",
        help="instead: frames per second, p50, p99 and host time for one and eight cameras, on "
        "every backend that works here, including GPUs",
    )
    what.add_argument(
        "--backends", type=listed(read_backend), metavar="B,..", help="default: all on the CPU"
    )
    what.add_argument(
        "--peers",
        type=listed(read_peer),
        default=list(PEERS),
        metavar="P,..",
        help=f"of {', '.join(PEERS)}; or none",
    )
    what.add_argument(
        "--yunet",
        type=read_file,
        metavar="FILE",
        help="yunet_n_dynamic.onnx of ShiqiYu/libfacedetection.train: adds its detection alone",
    )
    what.add_argument(
        "--frames", type=number(1, 1000), default=4, metavar="N", help="frames per case, default 4"
    )
    what.add_argument(
        "--rounds", type=number(1, 10000), default=8, metavar="N", help="rounds per case, default 8"
    )
    what.add_argument(
        "--in-a-row",
        action="store_true",
        help="take turns after each round instead of each frame: caches are warm, as in a video",
    )
    parser.add_argument(
        "-o", "--output", metavar="DIR", help="write report.md, report.json and plots/ there"
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument(
        "--environments",
        type=Path,
        default=ENVIRONMENTS,
        metavar="DIR",
        help="where `make bench` installed the other packages, default %(default)s",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    if arguments.throughput:
        return run_throughput(arguments)
    own = [read_image(Path(name).expanduser()) for name in arguments.images]
    wanted = arguments.backends or installed_backends() or BACKENDS[:1]
    backends = [require_backend(name, device=0) for name in wanted]
    runs = plan(arguments, backends, bool(own))
    output = make_report_folder(arguments.output)
    machine = describe_machine()
    sources = dict.fromkeys(source_of(case) for case, _ in runs)
    frames = make_frames(tqdm(sources, "frames", leave=False, disable=None), arguments.frames, own)
    environments = arguments.environments.expanduser().absolute()
    timings = measure_runs(runs, frames, arguments.rounds, environments, arguments.in_a_row)
    rows = build_rows(runs, timings, count_macs(runs, frames))
    lines = fit_cost_lines(rows)
    if arguments.four_way:
        tables = [four_way_table(rows, timings.absent)]
    else:
        tables = build_tables(rows, lines)
    report = {
        "machine": machine,
        "frames_sha256": digest(frames),
        "frames": arguments.frames,
        "rounds": arguments.rounds,
        "versions": timings.versions,
        "absent": timings.absent,
        "summary": summarise(rows),
        "rows": rows,
        "lines": lines,
    }
    facts = describe(report)
    if output is not None:
        write_report(output, report, facts, tables, draw_cost_plots(lines))
    if arguments.json:
        print(json.dumps(report, indent=2, allow_nan=False))
    else:
        print("\n\n".join(table.to_text() for table in tables))
        print("", *facts, sep="\n")
        if output is not None:
            print(f"\nreport: {output / 'report.md'}")
    home = {c.name for _, subjects in runs for c in subjects if c.needs_no_environment}
    return 1 if home & set(timings.absent) else 0


def run_throughput(arguments: argparse.Namespace) -> int:
    """Print the table of `mask-detector benchmark --throughput`, and why a backend is left out."""
    backends = arguments.backends or BACKENDS[::-1]
    table, rows, absent = throughput_table(THROUGHPUT_FRAMES * arguments.rounds, {}, backends)
    if arguments.json:
        report = {"machine": describe_machine(), "absent": absent, "rows": rows}
        print(json.dumps(report, indent=2, allow_nan=False))
    else:
        print(table.to_text())
        print(*(f"{name} left out: {reason}" for name, reason in absent.items()), sep="\n")
    return 1 if arguments.backends and absent else 0


def plan(arguments: argparse.Namespace, backends: Sequence[str], own_images: bool) -> list[Run]:
    """The benchmark cases selected by the options, with the subjects of each.

    Raises:
        ParameterError: options that contradict each other.
    """
    named = [name for name in AXES if getattr(arguments, name) is not None]
    if arguments.four_way:
        if arguments.full or named or own_images:
            raise ParameterError("--four-way has its own case; give no other cases with it")
        return four_way(Case(LABEL, plans.SIZES[0], 6, 40, peers=True), backends)
    if not named and not arguments.full:
        cases = plans.selection(own_images)
        return comparison(cases, backends, arguments.peers, arguments.yunet)
    every: tuple[Any, ...] = (plans.SIZES, plans.MIN_FACE_SIZES, plans.FACES, plans.THREADS)
    usual: tuple[Any, ...] = (plans.SIZES[:1], (40,), (6,), (1,))
    rest = dict(zip(AXES, every if arguments.full else usual, strict=True))
    sizes, least, faces, threads = (getattr(arguments, name) or rest[name] for name in AXES)
    cases = plans.axes(sizes, least, faces, threads, own_images)
    return comparison(cases, backends, arguments.peers, arguments.yunet)


def listed(read: Callable[[str], T]) -> Callable[[str], list[T]]:
    """Make an option type of the benchmark: comma-separated values; each counts once."""

    def read_list(text: str) -> list[T]:
        values = [read(part.strip()) for part in text.split(",")]
        return list(dict.fromkeys(value for value in values if value is not None))

    return read_list


def number(low: int, high: int) -> Callable[[str], int]:
    """Make an option type of the benchmark: a whole number in a range."""

    def read_number(text: str) -> int:
        if not re.fullmatch("[0-9]{1,6}", text) or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(
                f"must be a whole number from {low} to {high}, got {text!r}"
            )
        return int(text)

    return read_number


def read_size(text: str) -> Size:
    """Option type of the benchmark: width and height, such as 640x480."""
    width, _, height = text.partition("x")
    sides = [int(side) if re.fullmatch("[0-9]{2,4}", side) else 0 for side in (width, height)]
    if not all(64 <= side <= 8192 for side in sides):
        raise argparse.ArgumentTypeError(
            f"must be WIDTHxHEIGHT, each from 64 to 8192, such as 640x480, got {text!r}"
        )
    return sides[0], sides[1]


def read_peer(text: str) -> str | None:
    """Option type of the benchmark: the name of another package; None for `none`."""
    if text != "none" and text not in PEERS:
        raise argparse.ArgumentTypeError(
            f"must be one of {', '.join(PEERS)}, or none, got {text!r}"
        )
    return None if text == "none" else text


def read_file(text: str) -> str:
    """Option type of the benchmark: the absolute path of a file that exists, since subjects run
    in folders of their own."""
    path = Path(text).expanduser().absolute()
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"must be a file, got {text!r}")
    return str(path)


def read_backend(text: str) -> str:
    """Option type of the benchmark: the name of a backend."""
    if text not in BACKENDS:
        raise argparse.ArgumentTypeError(f"must be one of {', '.join(BACKENDS)}, got {text!r}")
    return text


def describe(report: dict[str, Any]) -> list[str]:
    """Sentences on what the benchmark measured and what it did not, from its JSON report."""
    machine = report["machine"]
    reasons: dict[str, list[str]] = {}
    for name, reason in report["absent"].items():
        reasons.setdefault(reason, []).append(name)
    return [
        *(f"not measured: {'; '.join(names)}: {reason}" for reason, names in reasons.items()),
        f"{machine['processor']}, {machine['cores']} cores, load {machine['load']} before the "
        f"run; {report['frames']} frames per case, {report['rounds']} interleaved rounds after "
        "warm-up",
        f"frames: sha256 {report['frames_sha256']}",
    ]


def write_report(
    output: Path,
    report: dict[str, Any],
    facts: list[str],
    tables: list[Table],
    plots: dict[str, str],
) -> None:
    """Write the benchmark's report.md, report.json and plots.

    Raises:
        SourceError: a file cannot be written.
    """
    files = {f"plots/{name}.svg": svg for name, svg in plots.items()}
    images = [f"![{name}]({name})" for name in files]
    parts = ["# Speed", *map(table_markdown, tables), *images, *(f"- {fact}" for fact in facts)]
    files["report.md"] = "\n\n".join(parts) + "\n"
    files["report.json"] = json.dumps(report, indent=2, allow_nan=False) + "\n"
    for name, text in files.items():
        write_output(output / name, text.encode())
