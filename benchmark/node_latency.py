# SPDX-License-Identifier: Apache-2.0
"""Measure the latency from image to detections with real processes over DDS.

    python -m benchmark.node_latency [--quick] [--only SECTION ...] [--out FILE]

A camera process and the node run beside this process, which receives the detections. It measures
several rates and sizes, a copying node for comparison, a viewer of the annotated images, overload,
and several cameras.
"""

import argparse
import contextlib
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmark.latency_graph import LatencyGraph, Measurement
from benchmark.latency_measures import search_rate
from benchmark.latency_report import TABLES, plot, to_row
from benchmark.reporting import write_report
from mask_detector_ros.cli.command import run_command
from mask_detector_ros.ros.demo.graph import graph_environment

SMALL, LARGE = (640, 480), (1920, 1080)
SUBJECTS = ("copy", "detector", "annotated")
"""Nodes to measure: the copying node; the detector; the detector with a viewer of its images."""

CAMERA_RATES = (15.0, 60.0)
"""Rates in Hz for several cameras: one that the detector can hold, and an overload that shows the
fairness."""

OVERLOAD_RATE, OVERLOAD_FACE = 60.0, 20
"""Rate in Hz and minimum face in pixels of the overload: more than two cores can process."""

SEARCH = (2.0, 500.0)
"""Bounds in Hz for the rate with 5 % lost frames."""

MIN_SECONDS = 0.5

PACKAGES = (
    "numpy",
    "opencv-python-headless",
    "onnxruntime",
    "openvino",
    *(f"ros-{distro}-rclpy" for distro in ("jazzy", "kilted")),
    *(f"ros-{distro}-rmw-fastrtps-cpp" for distro in ("jazzy", "kilted")),
)


@dataclass
class Bench:
    """Settings shared by all sections of the node's latency benchmark.

    Attributes:
        folder: folder for logs.
        seconds: length of each measurement.
        parameters: parameters of the detector.
        min_face_size: minimum face size in pixels, for an image of 480 lines. It scales with the
            image, so that inference costs the same and only the transport differs.
        quick: whether to leave out most rates, large images, and more than two cameras.
    """

    folder: Path
    seconds: float
    parameters: dict[str, Any]
    min_face_size: int
    quick: bool

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """The image sizes at which the node's latency is measured."""
        return (SMALL,) if self.quick else (SMALL, LARGE)

    @property
    def rates(self) -> tuple[float, ...]:
        """The frame rates in Hz at which the node's latency is measured."""
        return (30.0,) if self.quick else (10.0, 30.0, 60.0)

    @property
    def camera_counts(self) -> tuple[int, ...]:
        """The numbers of cameras with which the node's latency is measured."""
        return (2,) if self.quick else (2, 4)

    def graph(
        self, size: tuple[int, int], cameras: Sequence[str] = ("",)
    ) -> contextlib.closing[LatencyGraph]:
        """Make a latency graph with cameras of this image size and no node yet."""
        return contextlib.closing(LatencyGraph(self.folder, size, cameras))

    def detector(self, size: tuple[int, int]) -> dict[str, Any]:
        """Parameters of the measured detector node for images of this size."""
        return {**self.parameters, "min_face_size": round(self.min_face_size * size[1] / 480)}

    @contextlib.contextmanager
    def subject(self, subject: str, size: tuple[int, int]) -> Iterator[LatencyGraph]:
        """Make a latency graph with a camera and one of `SUBJECTS`."""
        with self.graph(size) as graph:
            if subject == "copy":
                graph.add_copy()
            else:
                graph.add_detector(**self.detector(size))
            if subject == "annotated":
                graph.add_viewer()
            graph.settle()
            yield graph


def measure_rates(bench: Bench) -> list[dict[str, Any]]:
    """Measure the latency of each subject and size at each rate, and at the rate where 5 % of the
    frames are lost."""
    rows = []
    for size in bench.sizes:
        for subject in SUBJECTS:
            with bench.subject(subject, size) as graph:
                for rate in bench.rates:
                    say(f"{size[0]}x{size[1]}, {subject}, {rate:g} Hz")
                    row = to_row(graph.measure(rate, bench.seconds))
                    rows.append({"size": size, "subject": subject, "asked": f"{rate:g}", **row})
                if subject != "annotated" and not bench.quick:
                    say(f"{size[0]}x{size[1]}, {subject}, searching the rate with 5 % lost")
                    row = to_row(measure_limit(graph, bench.seconds / 3))
                    rows.append({"size": size, "subject": subject, "asked": "5 % lost", **row})
    return rows


def measure_limit(graph: LatencyGraph, seconds: float) -> Measurement:
    """Find the highest rate at which the node loses at most 5 % of the frames; return its run."""
    runs: dict[float, Measurement] = {}

    def drop(rate: float) -> float:
        runs[rate] = graph.measure(rate, seconds)
        return runs[rate].streams[0].drop

    # An overloaded node delivers its maximum rate; the wanted rate is close to it.
    flooded = graph.measure(SEARCH[1], seconds)
    most = max(SEARCH[0], flooded.rate * (1 - flooded.streams[0].drop))
    limit = search_rate(drop, most / 2, min(1.5 * most, SEARCH[1]))
    return runs[limit] if limit in runs else graph.measure(limit, seconds)


def measure_overload(bench: Bench) -> list[dict[str, Any]]:
    """Measure whether the node's latency is steady at a rate that it cannot keep up with."""
    say(f"overload: {OVERLOAD_RATE:g} Hz, minimum face {OVERLOAD_FACE}")
    with bench.graph(SMALL) as graph:
        graph.add_detector(**{**bench.parameters, "min_face_size": OVERLOAD_FACE})
        graph.settle()
        row = to_row(graph.measure(OVERLOAD_RATE, 3 * bench.seconds))
    return [{"size": SMALL, "asked": OVERLOAD_RATE, "min_face_size": OVERLOAD_FACE, **row}]


def measure_cameras(bench: Bench) -> list[dict[str, Any]]:
    """Measure the node's latency with several cameras in one process, and in one process each."""
    rows = []
    for count in bench.camera_counts:
        names = [f"camera{i}" for i in range(count)]
        for way in ("one process", "a process each"):
            say(f"{count} cameras, {way}")
            with bench.graph(SMALL, names) as graph:
                if way == "one process":
                    graph.add_detector(**bench.detector(SMALL), cameras=",".join(names))
                else:
                    for name in names:
                        namespace = ("-r", f"__ns:=/{name}")
                        graph.add_detector(*namespace, name=f"node {name}", **bench.detector(SMALL))
                graph.settle()
                for rate in CAMERA_RATES:
                    row = to_row(graph.measure(rate, bench.seconds))
                    rows.append({"cameras": count, "way": way, "asked": rate, **row})
    return rows


SECTIONS: dict[str, Callable[[Bench], list[dict[str, Any]]]] = {
    "rates": measure_rates,
    "overload": measure_overload,
    "cameras": measure_cameras,
}


def say(text: str) -> None:
    """Print the progress of the latency benchmark."""
    print(f"{text} ...", file=sys.stderr, flush=True)


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that affect the node's latency."""
    found = {"python": platform.python_version(), "rmw": os.environ.get("RMW_IMPLEMENTATION", "")}
    for package in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and write a JSON file and a plot."""
    parser = argparse.ArgumentParser(prog="node_latency", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="a minute or two: 30 Hz, 640x480, two cameras"
    )
    parser.add_argument("--seconds", type=float, help="seconds per measurement (7, with --quick 3)")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument(
        "--min-face-size", type=int, default=80, help="minimum face in px for an image of 480 lines"
    )
    parser.add_argument("--backend", default="onnxruntime", help="backend of the detector")
    parser.add_argument("--out", type=Path, default=Path("out/node_latency.json"))
    arguments = parser.parse_args(argv)
    seconds = arguments.seconds or (3.0 if arguments.quick else 7.0)
    if seconds < MIN_SECONDS:
        parser.error(f"--seconds must be {MIN_SECONDS:g} or more, got {seconds:g}")
    return run_command(lambda: run(arguments, seconds))


def run(arguments: argparse.Namespace, seconds: float) -> int:
    """Measure the sections of the node's latency benchmark; return the exit code."""
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="node_latency_") as folder:
        # All processes must join the same graph, and DDS reads the profile at start.
        os.environ.update({**graph_environment(), "ROS_LOG_DIR": folder})
        parameters = {"backend": arguments.backend}
        bench = Bench(Path(folder), seconds, parameters, arguments.min_face_size, arguments.quick)
        for section in arguments.only:
            results[section] = SECTIONS[section](bench)
            print(f"\n{TABLES[section](results[section])}\n", flush=True)
    settings = {"min_face_size": arguments.min_face_size, "backend": arguments.backend}
    write_report(arguments.out, versions=versions(), seconds=seconds, **settings, **results)
    if "rates" in results:
        figure = arguments.out.with_suffix(".svg")
        figure.write_text(plot(results["rates"]), encoding="utf-8")
        print(f"written: {figure}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
