# SPDX-License-Identifier: Apache-2.0
"""Measure time, recall and delay with `search_every`, on a rendered scene with ground truth.

    python -m benchmark.search_every [--every N ...] [--seconds S] [--min-face-size PX]
        [--scene NAME] [--backend NAME] [--threads N] [--detector-model MODEL]

Each frame is processed with all settings in turn, so that load affects all alike. Recall is over
known faces of at least `min_face_size`; `newcomers` is the mean delay over the scene's people until
a new face is found.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmark.reporting import table, write_report
from benchmark.tracking import MIN_OVERLAP, SCENES
from mask_detector_ros import MaskDetector, parameters
from mask_detector_ros.errors import ParameterError
from mask_detector_ros.evaluation.matching import match_faces
from mask_detector_ros.evaluation.predictions import longer_sides
from mask_detector_ros.faces import Faces
from mask_detector_ros.sources.sample_scene import RATE_HZ

DEFAULT_DETECTOR = parameters.check_parameters(parameters.DETECTOR_PARAMETERS, {})["detector_model"]


class Tally:
    """Results and times of one value of `search_every`."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.known = self.found = self.false = 0
        self._first_known: dict[int, int] = {}
        self._first_found: dict[int, int] = {}

    def add(self, found: Faces, truth: Faces, index: int, seconds: float) -> None:
        """Count the faces of one image for a value of `search_every`."""
        assert truth.track_ids is not None
        matches = match_faces(found, truth, MIN_OVERLAP) >= 0
        self.seconds.append(seconds)
        self.known += len(truth)
        self.found += int(matches.sum())
        self.false += len(found) - int(matches.sum())
        for person, is_found in zip(truth.track_ids.tolist(), matches.tolist(), strict=True):
            self._first_known.setdefault(person, index)
            if is_found:
                self._first_found.setdefault(person, index)

    def report(self, reference: Tally) -> dict[str, float]:
        """The figures of one value of `search_every`; times also relative to the reference."""
        waits = [
            (self._first_found[person] - first) / RATE_HZ
            for person, first in self._first_known.items()
            if person in self._first_found
        ]
        mean = float(np.mean(self.seconds))
        return {
            "recall": self.found / self.known,
            "false_faces": self.false,
            "mean_ms": 1e3 * mean,
            "share_of_time": mean / float(np.mean(reference.seconds)),
            "newcomers_s": float(np.mean(waits)),
        }


def measure(arguments: argparse.Namespace) -> dict[int, dict[str, float]]:
    """Run the scene through one stream per value of `search_every`; return the figures of each."""
    detector = MaskDetector.load(
        min_face_size=arguments.min_face_size,
        backend=arguments.backend,
        threads=arguments.threads,
        detector_model=arguments.detector_model,
    )
    every = sorted({1, *arguments.every})
    streams = {n: detector.stream(search_every=n) for n in every}
    tallies = {n: Tally() for n in every}
    scene = SCENES[arguments.scene]()
    frames = range(round(arguments.seconds * RATE_HZ))
    for index in tqdm(frames, unit="image", disable=not sys.stderr.isatty()):
        image, truth = scene.render(index)
        truth = truth[longer_sides(truth.boxes) >= arguments.min_face_size]
        shift = index % len(every)
        for n in every[shift:] + every[:shift]:
            start = time.perf_counter()
            found = streams[n](image, index / RATE_HZ)
            tallies[n].add(found, truth, index, time.perf_counter() - start)
    return {n: tally.report(tallies[1]) for n, tally in tallies.items()}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and write a JSON file."""
    parser = argparse.ArgumentParser(prog="search_every", description=__doc__.splitlines()[0])
    parser.add_argument("--every", type=int, nargs="+", default=[2, 3, 5, 10], metavar="N")
    parser.add_argument("--seconds", type=float, default=30.0, help="seconds of the scene")
    parser.add_argument("--scene", choices=sorted(SCENES), default="sample")
    parser.add_argument("--min-face-size", type=int, default=20, metavar="PX")
    parser.add_argument("--backend", default="onnxruntime")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--detector-model", default=DEFAULT_DETECTOR, metavar="MODEL")
    parser.add_argument("--out", type=Path, default=Path("out/benchmark_search_every.json"))
    arguments = parser.parse_args(argv)
    try:
        for number in arguments.every:
            parameters.check_parameters(parameters.TRACKING_PARAMETERS, {"search_every": number})
    except ParameterError as error:
        parser.error(str(error))
    results = measure(arguments)
    formats = ("{:.3f}", "{:.0f}", "{:.1f}", "{:.2f}", "{:.2f} s")
    head = ("search_every", "recall", "false", "ms", "of the time", "newcomers after")
    rows = ((n, *map(str.format, formats, r.values())) for n, r in results.items())
    print(table(head, rows))
    settings: dict[str, Any] = {k: v for k, v in vars(arguments).items() if k != "out"}
    write_report(arguments.out, settings=settings, results=results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
