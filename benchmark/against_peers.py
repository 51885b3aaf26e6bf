"""Time our MTCNN cascade against three others on the same frames, in turns, on one thread.

    python -m benchmark.against_peers [IMAGE ...] [--rounds N] [--frames N] [--out FILE]

Every contestant runs in a process and an environment of its own. The frames go round: one
frame to each in turn, so that whatever else the machine does meets all of them alike.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from benchmark.contestants import HERE, OURS, PEERS, PeerError, clean_environment, prepare
from benchmark.machine import describe_machine
from benchmark.measures import agreement, ratio, spread
from mask_detector_ros.errors import MaskDetectorError
from mask_detector_ros.sample_scene import RATE_HZ, SampleScene
from mask_detector_ros.sources import read_image

WIDTH, HEIGHT = 640, 480
MIN_FACE_SIZES = (20, 40)
SECONDS_BETWEEN_FRAMES = 1.0
WARM_UP_ROUNDS = 1


class Contestant:
    """A detector in a process of its own.

    Raises:
        PeerError: it could not be started, or ended before its time.
    """

    def __init__(self, name: str, python: Path, frames: Path) -> None:
        self.name = name
        sizes = map(str, MIN_FACE_SIZES)
        command = [str(python), str(HERE / "worker.py"), name, str(frames), *sizes]
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115, closed with the process
        self._process = subprocess.Popen(
            command,
            cwd=HERE.parent,
            # Python puts the folder of the script on the path, not the one it is started from.
            env=clean_environment() | ({"PYTHONPATH": str(HERE.parent)} if name == OURS else {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        self.times: dict[int, list[list[tuple[float, float]]]] = {s: [] for s in MIN_FACE_SIZES}
        self.boxes: dict[int, list[NDArray[np.float64]]] = {s: [] for s in MIN_FACE_SIZES}
        self.versions: dict[str, str] = self._read()["versions"]

    def detect(self, frame: int, min_face_size: int) -> dict[str, Any]:
        """Run once; seconds by wall clock and processor, and the boxes."""
        assert self._process.stdin is not None
        request = {"frame": frame, "min_face_size": min_face_size}
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # its last words are read below
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._errors.seek(0)
            words = self._errors.read().strip().splitlines()
            raise PeerError(f"ended: {words[-1] if words else 'without a word'}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def seconds(self, min_face_size: int, clock: int = 0) -> NDArray[np.float64]:
        """(rounds, frames) by wall clock (0) or processor time (1)."""
        return np.array(self.times[min_face_size])[..., clock]

    def close(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.communicate()
        self._errors.close()


def load_frames(images: Sequence[Path], count: int) -> NDArray[np.uint8]:
    """(N, 480, 640, 3) BGR: `count` frames of the sample scene, then the images, resized."""
    scene = SampleScene(WIDTH, HEIGHT)
    step = round(SECONDS_BETWEEN_FRAMES * RATE_HZ)
    frames = [scene.render(step * i)[0] for i in range(count)]
    frames += [
        cv2.resize(read_image(path), (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)  # type: ignore[misc]
        for path in images
    ]
    return np.stack(frames)


def enter(
    frames: Path, environments: Path, stack: ExitStack
) -> tuple[list[Contestant], dict[str, str]]:
    """Start all contestants, ours first; the reasons of those that cannot take part."""
    contestants: list[Contestant] = []
    absent: dict[str, str] = {}
    ours = Contestant(OURS, Path(sys.executable), frames)
    stack.callback(ours.close)
    contestants.append(ours)
    for peer in tqdm(PEERS, desc="environments of the peers", leave=False):
        try:
            contestant = Contestant(peer.name, prepare(peer, environments), frames)
        except PeerError as error:
            absent[peer.name] = str(error)
            continue
        stack.callback(contestant.close)
        contestants.append(contestant)
    return contestants, absent


def run_rounds(contestants: list[Contestant], frames: int, rounds: int) -> None:
    """Every contestant over every frame at every size, in turns."""
    total = (WARM_UP_ROUNDS + rounds) * len(MIN_FACE_SIZES) * frames
    with tqdm(total=total, unit="frame", desc="in turns") as progress:
        for number in range(WARM_UP_ROUNDS + rounds):
            for size in MIN_FACE_SIZES:
                answers: dict[str, list[dict[str, Any]]] = {c.name: [] for c in contestants}
                for frame in range(frames):
                    # Nobody always runs after the same one.
                    shift = (number + frame) % len(contestants)
                    for contestant in contestants[shift:] + contestants[:shift]:
                        answers[contestant.name].append(contestant.detect(frame, size))
                    progress.update()
                for c in contestants:
                    if number < WARM_UP_ROUNDS:
                        boxes = [np.reshape(a["boxes"], (-1, 4)) for a in answers[c.name]]
                        c.boxes[size] = boxes
                    else:
                        c.times[size].append([(a["wall"], a["cpu"]) for a in answers[c.name]])


def summarise(contestants: list[Contestant]) -> list[dict[str, Any]]:
    """One row for each contestant and size; ours first."""
    ours, rows = contestants[0], []
    for size in MIN_FACE_SIZES:
        for c in contestants:
            wall, cpu = c.seconds(size), c.seconds(size, clock=1)
            rows.append(
                {
                    "min_face_size": size,
                    "name": c.name,
                    "ratio": ratio(ours.seconds(size), wall),
                    "ratio_cpu": ratio(ours.seconds(size, clock=1), cpu),
                    "wall_ms": spread(wall),
                    "cpu_ms": spread(cpu),
                    "faces": sum(map(len, c.boxes[size])),
                    "agreement": agreement(ours.boxes[size], c.boxes[size]),
                }
            )
    return rows


def print_report(rows: list[dict[str, Any]], absent: dict[str, str]) -> None:
    """The ratios first, then the times."""
    print(f"\n{'min face':>8}  {'contestant':<20}{'peer/ours':>10}{'ours/peer':>10}{'by CPU':>8}")
    for row in rows:
        if row["name"] != OURS:
            print(
                f"{row['min_face_size']:>8}  {row['name']:<20}{row['ratio']:>10.2f}"
                f"{1 / row['ratio']:>10.2f}{row['ratio_cpu']:>8.2f}"
            )
    for name, reason in absent.items():
        print(f"{'-':>8}  {name:<20}not measured: {reason}")
    print(
        f"\n{'min face':>8}  {'contestant':<20}{'median ms':>10}{'quartiles':>14}{'CPU ms':>8}"
        f"{'faces':>7}{'same boxes':>12}"
    )
    for row in rows:
        median, low, high = row["wall_ms"]
        print(
            f"{row['min_face_size']:>8}  {row['name']:<20}{median:>10.1f}"
            f"{f'{low:.1f} - {high:.1f}':>14}{row['cpu_ms'][0]:>8.1f}{row['faces']:>7}"
            f"{row['agreement']:>12.1%}"
        )
        if row["cpu_ms"][0] > 1.15 * median:
            print(f"{'':>10}{row['name']} used more than one thread; its times are not comparable")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and write a JSON file."""
    parser = argparse.ArgumentParser(prog="against_peers", description=__doc__.splitlines()[0])
    parser.add_argument("images", nargs="*", type=Path, metavar="IMAGE", help="more frames")
    parser.add_argument("--frames", type=int, default=8, help="of the sample scene")
    parser.add_argument("--rounds", type=int, default=10, help="over all frames, after warm-up")
    parser.add_argument("--out", type=Path, default=Path("out/benchmark_peers.json"))
    parser.add_argument("--environments", type=Path, default=Path(".venv/bench"))
    arguments = parser.parse_args(argv)
    if arguments.rounds < 1 or arguments.frames < 0 or arguments.frames + len(arguments.images) < 1:
        parser.error("there must be at least one round and one frame")
    machine = describe_machine()
    try:
        frames = load_frames(arguments.images, arguments.frames)
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            np.save(folder / "frames.npy", frames)
            contestants, absent = enter(
                folder / "frames.npy", arguments.environments.absolute(), stack
            )
            run_rounds(contestants, len(frames), arguments.rounds)
    except (MaskDetectorError, PeerError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    rows = summarise(contestants)
    print_report(rows, absent)
    result = {
        "machine": machine,
        "frames": len(frames),
        "frames_sha256": hashlib.sha256(frames.tobytes()).hexdigest(),
        "rounds": arguments.rounds,
        "versions": {c.name: c.versions for c in contestants},
        "absent": absent,
        "results": rows,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(
        f"\n{len(frames)} frames of {WIDTH}x{HEIGHT}, {arguments.rounds} rounds in turns, one"
        f" thread; {machine['processor']}, load {machine['load']} before"
    )
    print(f"written: {arguments.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
