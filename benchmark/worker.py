"""One contestant's process: takes lines of JSON, answers each with one.

    python worker.py CONTESTANT FRAMES.npy MIN_FACE_SIZE...

First it says its versions. Then `{"frame": 3, "min_face_size": 20}` makes it run once and
answer with the seconds this took (wall clock and processor) and the boxes found.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

import numpy as np
from detectors import CONTESTANTS, versions


def main() -> None:
    # Libraries print as they like; the answers have the real standard output to themselves.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def answer(value: dict[str, Any]) -> None:
        answers.write(json.dumps(value) + "\n")
        answers.flush()

    name, frames_file, *sizes = sys.argv[1:]
    make, color, packages = CONTESTANTS[name]
    frames = np.load(frames_file)
    if color == "RGB":
        frames = np.ascontiguousarray(frames[..., ::-1])
    detectors = {int(size): make(int(size)) for size in sizes}
    answer({"versions": versions(packages)})
    for line in sys.stdin:
        request = json.loads(line)
        detect = detectors[request["min_face_size"]]
        image = frames[request["frame"]]
        cpu, wall = time.process_time(), time.perf_counter()
        boxes = detect(image)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        answer({"wall": wall, "cpu": cpu, "boxes": np.asarray(boxes, float).tolist()})


if __name__ == "__main__":
    main()
