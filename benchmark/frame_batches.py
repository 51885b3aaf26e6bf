# SPDX-License-Identifier: Apache-2.0
"""Measure whether a batch of frames runs faster than the same frames one by one, for each network.

    python -m benchmark.frame_batches

`MaskDetector` runs a list of images one by one. The two ways alternate, so that a busy machine
slows both.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

import numpy as np

from mask_detector_ros.inference import create_session
from mask_detector_ros.models import models_directory

INPUTS = {"proposal": (480, 640, 3), "decision": (80, 80, 3)}
"""The shipped networks, and the size of one frame or one face."""


def main() -> int:
    """Print the ratio of times of each network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=8, help="number of frames in a batch")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    for name, shape in INPUTS.items():
        model = (models_directory() / f"{name}.onnx").read_bytes()
        session = create_session(model, name, "onnxruntime", arguments.threads)
        (given,) = session.inputs
        images = np.random.default_rng(0).integers(0, 255, (arguments.count, *shape), np.uint8)

        def seconds(*batches: np.ndarray, session: Any = session, given: str = given.name) -> float:
            start = time.perf_counter()
            for batch in batches:
                session.run(**{given: batch})
            return time.perf_counter() - start

        ways = (images,), [images[i : i + 1] for i in range(arguments.count)]
        ratios = []
        for _ in range(arguments.rounds + 1):
            together, singly = (seconds(*way) for way in ways)
            ratios.append(together / singly)
        low, middle, high = np.quantile(ratios[1:], (0.25, 0.5, 0.75))
        print(
            f"{name}: {arguments.count} together take {middle:.2f} (quartiles {low:.2f} to"
            f" {high:.2f}) of the time of one by one"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
