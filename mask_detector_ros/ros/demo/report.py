# SPDX-License-Identifier: Apache-2.0
"""The demo's report: faces by class, frame rate, and accuracy against the ground truth."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from mask_detector_ros.errors import SourceError
from mask_detector_ros.evaluation.matching import count_matches
from mask_detector_ros.faces import Faces

MIN_SCORED_SIDE = 40.0
"""Minimum side in pixels of known faces in the accuracy."""


def read_records(log: Path) -> list[dict[str, Any]]:
    """Read the lines of detections.jsonl for the demo's report.

    Raises:
        SourceError: no frame was recorded.
    """
    records = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    if not records:
        raise SourceError("no frame reached the recorder; the messages above say why")
    return records


def print_report(records: list[dict[str, Any]], timed: bool = True) -> None:
    """Print the demo's report: faces by class, frame rate, and accuracy if there is a ground truth.

    Args:
        records: the lines of detections.jsonl.
        timed: whether stamps come from the clock; stamps of files are those of the file and say
            nothing about latency.
    """
    stamps = [record["stamp"] for record in records]
    latencies = np.percentile([record["latency_ms"] for record in records], [50, 99])
    pace = (len(stamps) - 1) / (stamps[-1] - stamps[0]) if stamps[-1] > stamps[0] else 0.0
    latency = f"{latencies[0]:.0f} ms (99 %: {latencies[1]:.0f} ms)"
    said = f"; from image stamp to recorded detections {latency}" if timed else ""
    print(f"\n{len(records)} frames, {pace:.1f} frames/s{said}")
    counts = Counter(face["label"] for record in records for face in record["faces"])
    print(f"{counts.total()} faces, {counts.total() / len(records):.1f} a frame")
    for label, count in counts.most_common():
        print(f"  {label:<24}{count:>6}")
    pairs = [(to_faces(r["faces"]), to_faces(r["truth"])) for r in records if "truth" in r]
    if not pairs:
        return
    print(
        f"\nagainst the ground truth of {len(pairs)} frames, faces of {MIN_SCORED_SIDE:.0f} px up"
    )
    print(f"  {'label':<24}{'known':>6}{'found':>8}{'label right':>14}")
    for label, score in sorted(count_matches(pairs, MIN_SCORED_SIDE).items()):
        found, right = f"{score.recall:.1%}", f"{score.label_accuracy:.1%}"
        print(f"  {label:<24}{score.present:>6}{found:>8}{right:>14}")


def to_faces(records: list[dict[str, Any]]) -> Faces:
    """The faces in the records of one line of the demo, with the labels that occur in them, for its
    report."""
    names = tuple(sorted({record["label"] for record in records}))
    if not records:
        return Faces.empty()
    labels = np.array([[name == r["label"] for name in names] for r in records], np.float32)
    boxes = np.array([record["box"] for record in records])
    return Faces.known(boxes).with_probabilities(labels, names)
