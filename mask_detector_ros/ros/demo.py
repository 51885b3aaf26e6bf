"""`make demo`: camera node, detector node and recorder as processes, and what they saw.

python -m mask_detector_ros.ros.demo [--source SOURCE] [--out DIR] [--duration SECONDS]
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from mask_detector_ros.errors import MaskDetectorError, SourceError
from mask_detector_ros.faces import Faces
from mask_detector_ros.ros.environment import image_environment
from mask_detector_ros.scoring import score_faces
from mask_detector_ros.sources import SAMPLE, is_live

RATE = 15.0
PHOTOGRAPH_RATE = 1.0
"""Frames a second of the sample scene and the video; of a folder of photographs."""

ENDLESS_DURATION = 15.0
"""Seconds that a source without an end is shown, unless told otherwise."""

MIN_SCORED_SIDE = 40.0
"""Pixels: smaller known faces do not count in the score."""

PHOTOGRAPH_CANVAS = {"width": 960, "height": 720}
"""Of the video, since photographs differ in size."""

START_TIMEOUT, SETTLE_TIMEOUT, STOP_TIMEOUT = 60.0, 10.0, 5.0


def main(argv: list[str] | None = None) -> int:
    """Run the demo; the exit code is 0 when it went through."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__.splitlines()[0])
    parser.add_argument("--source", default=SAMPLE, help="sample, file, folder, device or URL")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the results")
    parser.add_argument("--duration", type=float, help="seconds; a file plays to its end")
    arguments = parser.parse_args(argv)
    if arguments.duration is not None and arguments.duration <= 0:
        parser.error(f"--duration must be more than 0 seconds, got {arguments.duration:g}")
    try:
        run_graph(arguments.source, arguments.out, arguments.duration)
        records = read_records(arguments.out / "detections.jsonl")
    except MaskDetectorError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print_report(records)
    print(f"\nwritten: {arguments.out / 'annotated.mp4'}, {arguments.out / 'detections.jsonl'}")
    return 0


def run_graph(source: str, out: Path, duration: float | None) -> None:
    """Run the three nodes until the source has ended and its last frame is recorded."""
    log = out / "detections.jsonl"
    log.unlink(missing_ok=True)
    is_folder = source != SAMPLE and Path(source).is_dir()
    rate = PHOTOGRAPH_RATE if is_folder else RATE if source == SAMPLE else 0.0
    if duration is None and (source == SAMPLE or is_live(source)):
        duration = ENDLESS_DURATION
    camera = {"source": source, "rate": rate, "loop": source == SAMPLE, "wait_for_subscriber": True}
    environment = graph_environment()
    print(
        f"ROS_DOMAIN_ID={environment['ROS_DOMAIN_ID']}: join with it to watch the topics",
        flush=True,
    )
    with (
        node(
            "recorder_node",
            {"folder": str(out), "rate": RATE, **(PHOTOGRAPH_CANVAS if is_folder else {})},
            environment,
            detections="mask_detector/detections",
            image_annotated="mask_detector/image_annotated",
            ground_truth="image_source/ground_truth",
        ) as recorder,
        # Photographs do not follow each other: nobody in one is the person of the one before.
        node("mask_detector_node", {"tracking": not is_folder}, environment) as detector,
    ):
        others = (recorder, detector)
        wait_for(log.exists, START_TIMEOUT, others, "the nodes did not find each other")
        with node("image_source_node", camera, environment) as image_source:
            try:
                wait_for(
                    lambda: image_source.poll() is not None or log.stat().st_size > 0,
                    START_TIMEOUT,
                    others,
                    "no frame came through",
                )
                wait_for(lambda: image_source.poll() is not None, duration, others)
            except KeyboardInterrupt:
                print("interrupted; what was recorded is kept", file=sys.stderr)
            if image_source.poll():
                raise SourceError(f"the source {source} could not be shown; see above")
        wait_until_settled(log)
    for process, name in ((detector, "mask_detector"), (recorder, "recorder")):
        if process.returncode:
            raise MaskDetectorError(f"{name} ended with exit code {process.returncode}; see above")


def graph_environment() -> dict[str, str]:
    """Large images through shared memory, and a graph of our own unless the user chose one."""
    config = Path(__file__).absolute().parents[2] / "config"
    environment = {**os.environ, **image_environment(config, os.environ)}
    environment.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
    if environment.get("ROS_DISTRO") == "humble":
        environment.setdefault("ROS_LOCALHOST_ONLY", "1")
    environment.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    return environment


@contextmanager
def node(
    module: str, parameters: dict[str, Any], environment: dict[str, str], **remappings: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A node in a process of its own, ended with SIGINT."""
    command = [sys.executable, "-m", f"mask_detector_ros.ros.{module}", "--ros-args"]
    for name, value in parameters.items():
        command += ["-p", f"{name}:={json.dumps(value)}"]
    for name, topic in remappings.items():
        command += ["-r", f"{name}:={topic}"]
    process = subprocess.Popen(command, env=environment)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        try:
            process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(
    condition: Callable[[], bool],
    timeout: float | None,
    processes: tuple[subprocess.Popen[bytes], ...],
    complaint: str = "",
) -> None:
    """Wait for a condition while the processes live; without a complaint, time may run out."""
    end = None if timeout is None else time.monotonic() + timeout
    while not condition():
        if any(process.poll() is not None for process in processes):
            raise MaskDetectorError("a node ended before its time; see its message above")
        if end is not None and time.monotonic() > end:
            if complaint:
                raise MaskDetectorError(f"{complaint} within {timeout:g} s")
            return
        time.sleep(0.05)


def wait_until_settled(log: Path) -> None:
    """Wait until nothing has been written for a second: the last frame is through."""
    end = time.monotonic() + SETTLE_TIMEOUT
    size, since = -1, time.monotonic()
    while time.monotonic() < min(end, since + 1.0):
        if (now := log.stat().st_size) != size:
            size, since = now, time.monotonic()
        time.sleep(0.05)


def read_records(log: Path) -> list[dict[str, Any]]:
    """The lines of detections.jsonl.

    Raises:
        SourceError: no frame was recorded.
    """
    records = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    if not records:
        raise SourceError("no frame reached the recorder; the messages above say why")
    return records


def print_report(records: list[dict[str, Any]]) -> None:
    """Faces by class, pace, and how the faces agree with the ground truth where there is one."""
    stamps = [record["stamp"] for record in records]
    latencies = np.percentile([record["latency_ms"] for record in records], [50, 99])
    pace = (len(stamps) - 1) / (stamps[-1] - stamps[0]) if stamps[-1] > stamps[0] else 0.0
    print(
        f"\n{len(records)} frames, {pace:.1f} frames/s; from image stamp to recorded detections"
        f" {latencies[0]:.0f} ms (99 %: {latencies[1]:.0f} ms)"
    )
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
    for label, score in sorted(score_faces(pairs, MIN_SCORED_SIDE).items()):
        found, right = f"{score.recall:.1%}", f"{score.label_accuracy:.1%}"
        print(f"  {label:<24}{score.present:>6}{found:>8}{right:>14}")


def to_faces(records: list[dict[str, Any]]) -> Faces:
    """Faces of the records of one line, with as many labels as occur in them."""
    names = tuple(sorted({record["label"] for record in records}))
    if not records:
        return Faces.empty()
    return Faces(
        np.array([record["box"] for record in records], np.float32),
        np.ones(len(records), np.float32),
        np.zeros((len(records), 5, 2), np.float32),
        np.array([[name == record["label"] for name in names] for record in records], np.float32),
        names,
    )


if __name__ == "__main__":
    sys.exit(main())
