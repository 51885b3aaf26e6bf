# SPDX-License-Identifier: Apache-2.0
"""Measure id switches and label changes of the tracker on rendered scenes with ground truth.

    python -m benchmark.tracking [--seconds S] [--smoothing S] [--out FILE]

Rendered scenes go through the real detector, with and without the tracker: `sample` is the demo's
scene; in `crossings` people walk past and occlude each other; in `alike` both people of a pair look
the same; `turning` is the sample scene seen by a swinging camera. Id switches are counted as in
CLEAR MOT (Bernardin and Stiefelhagen, 2008): a person keeps the match of the last image while it
still fits. A person unseen for longer than `SHORT_GAP`, mostly out of the frame, may return with a
new id: a return.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from benchmark.reporting import table, write_report
from mask_detector_ros import MaskDetector
from mask_detector_ros.evaluation.matching import match_faces
from mask_detector_ros.faces import Faces
from mask_detector_ros.imaging.boxes import intersection_over_union
from mask_detector_ros.sources.sample_scene import RATE_HZ, SampleScene
from mask_detector_ros.sources.sample_scene.masks import Mask
from mask_detector_ros.sources.sample_scene.people import Person, Wave
from mask_detector_ros.sources.sample_scene.portraits import ASTRONAUT, HOPPER
from mask_detector_ros.tracking.tracker import Tracker

MIN_OVERLAP = 0.5
SHORT_GAP = 1.0
"""Seconds unseen after which a new id counts as a return, not as a switch."""

MIN_FACE_SIZE = 20
RATES_HZ = (15, 10, 7.5, 5)
"""Frame rates in Hz given to the tracker, from scenes rendered at 15 Hz."""

SWING_WIDTH, SWING_PERIOD = 960, 5.0
"""Width of the scene in pixels, of which the swinging camera shows 640; period of the swing in
seconds."""

_PLAIN = Mask("plain", (62, 56, 54))
_PALE = Mask("folded", (232, 236, 238))

# fmt: off
CROSSERS = (
    Person(ASTRONAUT, None, Wave(320, 250, 15), Wave(52, 0), drop=30),
    Person(HOPPER, _PALE, Wave(320, 250, 15, 0.5), Wave(58, 0), drop=12),
    Person(ASTRONAUT, _PLAIN, Wave(320, 270, 19, 0.2), Wave(90, 0), drop=40, mirrored=True),
    Person(HOPPER, None, Wave(320, 270, 23, 0.6), Wave(98, 0), drop=16, blur=0.5),
    Person(ASTRONAUT, Mask("plain", (60, 62, 190), nose_out=True), Wave(320, 240, 21, 0.1),
           Wave(34, 0), drop=-10),
    Person(HOPPER, None, Wave(320, 240, 13, 0.4), Wave(38, 0), drop=-22, mirrored=True),
)
ALIKE = (
    Person(ASTRONAUT, None, Wave(320, 250, 15), Wave(52, 0), drop=30),
    Person(ASTRONAUT, None, Wave(320, 250, 15, 0.5), Wave(58, 0), drop=12, mirrored=True),
    Person(HOPPER, _PLAIN, Wave(320, 250, 19, 0.2), Wave(90, 0), drop=40, mirrored=True),
    Person(HOPPER, _PLAIN, Wave(320, 250, 19, 0.7), Wave(98, 0), drop=16),
)
# fmt: on


class SwingingScene(SampleScene):
    """The sample scene, seen by a camera that turns left and right."""

    def __init__(self) -> None:
        super().__init__(SWING_WIDTH, 480)

    def render(self, index: int) -> tuple[NDArray[np.uint8], Faces]:
        image, faces = super().render(index)
        swing = math.sin(2 * math.pi * index / RATE_HZ / SWING_PERIOD)
        left = round((SWING_WIDTH - 640) / 2 * (1 + swing))
        boxes = faces.boxes - np.float32([left, 0, left, 0])
        seen = Faces(boxes, faces.scores, faces.landmarks, faces.probabilities,
                     faces.label_names, track_ids=faces.track_ids)  # fmt: skip
        inside = (boxes[:, 0] >= 0) & (boxes[:, 2] <= 640)
        return np.ascontiguousarray(image[:, left : left + 640]), seen[inside]


SCENES = {
    "sample": SampleScene,
    "crossings": lambda: SampleScene(people=CROSSERS),
    "alike": lambda: SampleScene(people=ALIKE),
    "turning": SwingingScene,
}


@dataclass
class Account:
    """The tracker's id switches and label changes over a scene.

    Attributes:
        person_seconds: total time for which known people were found.
        switches, returns: number of times that a person got a new id, at once or after a short gap,
            and after a longer gap.
        people, counted: number of people in the scene, and as counted by the tracker.
        flips, raw_flips: number of label changes, with and without the tracker.
        wrong, raw_wrong: number of found faces with a wrong label, with and without the tracker.
        found: number of faces found.
    """

    person_seconds: float = 0.0
    switches: int = 0
    returns: int = 0
    people: int = 0
    counted: int = 0
    flips: int = 0
    raw_flips: int = 0
    wrong: int = 0
    raw_wrong: int = 0
    found: int = 0
    ids: dict[int, int] = field(default_factory=dict, repr=False)
    seen: dict[int, float] = field(default_factory=dict, repr=False)
    labels: dict[int, tuple[str, str]] = field(default_factory=dict, repr=False)

    def add(self, raw: Faces, tracked: Faces, truth: Faces, now: float, seconds: float) -> None:
        """Count the id switches and label changes of an image that lasts `seconds`; `raw` and
        `tracked` are the same faces in the same order."""
        assert truth.track_ids is not None
        for t, i in enumerate(self._match(tracked, truth)):
            person = int(truth.track_ids[t])
            if i < 0:
                continue
            self.found += 1
            self.person_seconds += seconds
            track = int(tracked.track_ids[i])  # type: ignore[index]
            if self.ids.get(person, track) != track:
                gone = now - self.seen[person] > SHORT_GAP
                self.returns += gone
                self.switches += not gone
            self.ids[person], self.seen[person] = track, now
            label, raw_label = tracked.labels[i], raw.labels[i]
            last, raw_last = self.labels.get(person, (label, raw_label))
            self.flips += label != last
            self.raw_flips += raw_label != raw_last
            self.wrong += label != truth.labels[t]
            self.raw_wrong += raw_label != truth.labels[t]
            self.labels[person] = label, raw_label

    def _match(self, tracked: Faces, truth: Faces) -> NDArray[np.int64]:
        overlaps = intersection_over_union(truth.boxes, tracked.boxes)
        matches = np.full(len(truth), -1, np.int64)
        ids = {int(v): i for i, v in enumerate(tracked.track_ids)}  # type: ignore[arg-type]
        for t, person in enumerate(truth.track_ids):  # type: ignore[arg-type]
            i = ids.get(self.ids.get(int(person), -1), -1)
            if i >= 0 and overlaps[t, i] >= MIN_OVERLAP:
                matches[t] = i
        left, free = np.flatnonzero(matches < 0), np.setdiff1d(np.arange(len(tracked)), matches)
        found = match_faces(tracked[free], truth[left], MIN_OVERLAP)
        matches[left] = np.where(found >= 0, np.append(free, -1)[found], -1)
        return matches


def account(observed: Sequence[tuple[Faces, Faces]], rate: float, smoothing: float) -> Account:
    """Run the tracker over detected faces at a frame rate; count id switches and label changes."""
    tracker, result = Tracker(smoothing), Account()
    people = set()
    for number in range(int(len(observed) * rate / RATE_HZ)):
        index = round(number * RATE_HZ / rate)
        raw, truth = observed[index]
        tracked = tracker.update(raw, index / RATE_HZ)
        result.add(raw, tracked, truth, index / RATE_HZ, 1 / rate)
        people |= set(truth.track_ids.tolist())  # type: ignore[union-attr]
    result.people = len(people)
    result.counted = sum(tracker.count_people(len(observed[0][0].label_names)))
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and write a JSON file."""
    parser = argparse.ArgumentParser(prog="tracking", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="seconds of each scene")
    parser.add_argument(
        "--smoothing",
        type=float,
        default=1.0,
        help="value of the parameter `smoothing`, in seconds",
    )
    parser.add_argument("--out", type=Path, default=Path("out/benchmark_tracking.json"))
    arguments = parser.parse_args(argv)
    detector = MaskDetector.load(min_face_size=MIN_FACE_SIZE)
    frames = round(arguments.seconds * RATE_HZ)
    results = {}
    for name, make in SCENES.items():
        scene, hidden = make(), not sys.stderr.isatty()
        views = map(scene.render, tqdm(range(frames), name, unit="frame", disable=hidden))
        observed = [(detector(image), truth) for image, truth in views]
        for rate in RATES_HZ:
            result = account(observed, rate, arguments.smoothing)
            results[f"{name} {rate:g} Hz"] = result
    print_report(results)
    counts = {
        name: {k: v for k, v in asdict(r).items() if k not in ("ids", "labels", "seen")}
        for name, r in results.items()
    }
    write_report(
        arguments.out, seconds=arguments.seconds, smoothing=arguments.smoothing, results=counts
    )
    return 0


def print_report(results: dict[str, Account]) -> None:
    """Print one line of tracking figures per scene and rate."""
    head = ("scene", "people", "counted", "id switches", "returns")
    head += ("label flips per person-minute, raw", "tracked", "wrong, raw", "tracked")
    rows = []
    for name, r in results.items():
        flips = (f"{count / r.person_seconds * 60:.2f}" for count in (r.raw_flips, r.flips))
        wrong = (f"{count / r.found:.2%}" for count in (r.raw_wrong, r.wrong))
        rows.append((name, r.people, r.counted, r.switches, r.returns, *flips, *wrong))
    print(table(head, rows))


if __name__ == "__main__":
    sys.exit(main())
