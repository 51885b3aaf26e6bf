# SPDX-License-Identifier: Apache-2.0
"""Other face detectors with the cascade's interface, from ONNX files that the user provides.

None is shipped or used for training. Each runs as in its authors' code: the same
scaling of pixels, decoding and suppression.
"""

from abc import ABC, abstractmethod
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mask_detector_ros.errors import ModelError
from mask_detector_ros.faces import Faces
from mask_detector_ros.imaging.boxes import FloatArray, non_max_suppression
from mask_detector_ros.inference import create_session
from mask_detector_ros.inference.session import Array
from mask_detector_ros.mtcnn.detection_settings import DetectionSettings

STRIDES = (8, 16, 32)
MAX_CANDIDATES = 2000

AIZOO_MAPS = {260: (33, 17, 9, 5, 3), 360: (45, 23, 12, 6, 4)}
"""Cells across each of AIZOO's feature maps, by the side of the input."""

Decoded = tuple[FloatArray, FloatArray, FloatArray, FloatArray]
"""(N, 4) boxes, (N,) scores, (N, 5, 2) landmarks and (N, K) probabilities, in input pixels."""


class PeerDetector(ABC):
    """Another project's detector; of the settings it uses only the last threshold.

    Attributes:
        label_names: the labels that it predicts; empty for a detector without labels.
        overlap: threshold of the suppression.
        color, mean, deviation: the network takes (pixel - mean) / deviation, in this order.
    """

    label_names: tuple[str, ...] = ()
    overlap: float
    color = "RGB"
    mean, deviation = 0.0, 1.0

    def __init__(self, path: Path, threads: int) -> None:
        try:
            model = path.expanduser().read_bytes()
        except OSError as error:
            raise ModelError(f"cannot read {path} ({error.strerror}); give an ONNX file") from error
        self._session = create_session(model, path.name, "onnxruntime", threads)
        (self._input,) = self._session.inputs
        if len(self._input.shape) != 4:
            raise ModelError(f"{path.name} takes {self._input}, which is not an image")
        is_last = self._input.shape[3] == 3
        height, width = self._input.shape[1:3] if is_last else self._input.shape[2:]
        self._channels_last, self._fixed = is_last, (height, width)

    def __call__(self, image: NDArray[np.uint8], settings: DetectionSettings) -> Faces:
        pixels, scale = self._fit(image)
        boxes, scores, landmarks, classes = self._decode(self._run(pixels), pixels.shape[:2])
        kept = np.flatnonzero(scores >= settings.detection_thresholds[2])
        kept = kept[np.argsort(-scores[kept], kind="stable")[:MAX_CANDIDATES]]
        boxes, scores, landmarks = boxes[kept] / np.tile(scale, 2), scores[kept], landmarks[kept]
        best = non_max_suppression(boxes.astype(np.float32), scores, self.overlap)
        return Faces(
            boxes[best],
            np.clip(scores[best], 0, 1),
            landmarks[best] / scale,
            classes[kept][best],
            self.label_names,
        )

    def _run(self, pixels: NDArray[np.uint8]) -> list[Array]:
        ordered = pixels[..., ::-1] if self.color == "RGB" else pixels
        values = ordered[None].astype(np.float32)
        # It is timed: no needless pass over the pixels.
        if self.mean:
            values -= self.mean
        if self.deviation != 1:
            values /= self.deviation
        if not self._channels_last:
            values = values.transpose(0, 3, 1, 2)
        return list(self._session.run(**{self._input.name: np.ascontiguousarray(values)}).values())

    def _fit(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Letterbox the image to the network's input; also return input pixels per image pixel in x
        and y."""
        height, width = image.shape[:2]
        if -1 in self._fixed:
            padding = (-height % STRIDES[-1], -width % STRIDES[-1])
            pixels = cv2.copyMakeBorder(image, 0, padding[0], 0, padding[1], cv2.BORDER_CONSTANT)
            return pixels, np.ones(2, np.float32)  # type: ignore[return-value]
        scale = min(self._fixed[0] / height, self._fixed[1] / width)
        size = (round(width * scale), round(height * scale))
        canvas = np.zeros((*self._fixed, 3), np.uint8)
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        canvas[: size[1], : size[0]] = cv2.resize(image, size, interpolation=method)
        return canvas, np.array([size[0] / width, size[1] / height], np.float32)

    @abstractmethod
    def _decode(self, outputs: list[Array], size: tuple[int, int]) -> Decoded:
        """Decode the outputs for an input of `size`, (height, width)."""


class YuNet(PeerDetector):
    """Wu, Peng and Yu, "YuNet: A Tiny Millisecond-level Face Detector", 2023; the files
    `onnx/yunet_?_dynamic.onnx` of ShiqiYu/libfacedetection.train."""

    overlap = 0.45
    color = "BGR"

    def _decode(self, outputs: list[Array], size: tuple[int, int]) -> Decoded:
        named = dict(zip((t.name for t in self._session.outputs), outputs, strict=True))
        parts = []
        for stride in STRIDES:
            cells = _cells(size, stride, 1)
            moves, points = named[f"bbox_{stride}"][0], named[f"kps_{stride}"][0]
            centres, halves = (cells + moves[:, :2]) * stride, np.exp(moves[:, 2:]) * stride / 2
            scores = np.sqrt(named[f"cls_{stride}"][0, :, 0] * named[f"obj_{stride}"][0, :, 0])
            landmarks = (cells[:, None] + points.reshape(-1, 5, 2)) * stride
            parts.append((np.hstack([centres - halves, centres + halves]), scores, landmarks))
        return _joined(parts)


class Scrfd(PeerDetector):
    """Guo et al., "Sample and Computation Redistribution for Efficient Face Detection", 2021,
    with landmarks (`*_kps`); its weights are for research only."""

    overlap = 0.4
    mean, deviation = 127.5, 128.0

    def _decode(self, outputs: list[Array], size: tuple[int, int]) -> Decoded:
        flat = [output.reshape(-1, output.shape[-1]) for output in outputs]
        by_width = {width: [o for o in flat if o.shape[1] == width] for width in (1, 4, 10)}
        parts = []
        for index, stride in enumerate(STRIDES):
            centres = _cells(size, stride, 2) * stride
            scores, sides, points = (by_width[width][index] for width in (1, 4, 10))
            boxes = np.hstack([centres - sides[:, :2] * stride, centres + sides[:, 2:] * stride])
            landmarks = centres[:, None] + points.reshape(-1, 5, 2) * stride
            parts.append((boxes, scores[:, 0], landmarks))
        return _joined(parts)


class _Stretched(PeerDetector):
    """A detector that stretches the image to its input size."""

    def _fit(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        height, width = self._fixed
        scale = np.array([width / image.shape[1], height / image.shape[0]], np.float32)
        return cv2.resize(image, (width, height)), scale  # type: ignore[return-value]


class UltraFace(_Stretched):
    """Linzaer/Ultra-Light-Fast-Generic-Face-Detector-1MB; for masked_face-v2 (background, face,
    masked face) the higher of the two face scores counts."""

    overlap = 0.3
    mean, deviation = 127.0, 128.0

    def _decode(self, outputs: list[Array], size: tuple[int, int]) -> Decoded:
        boxes = next(output[0] for output in outputs if output.shape[-1] == 4)
        scores = next(output[0] for output in outputs if output.shape[-1] != 4)
        sides = np.tile([size[1], size[0]], 2).astype(np.float32)
        return _joined([(boxes * sides, scores[:, 1:].max(axis=1), _none(len(boxes)))])


class Aizoo(_Stretched):
    """AIZOOTech/FaceMaskDetection, which also labels; takes an ONNX file of its frozen graph, made
    by `convert_to_trt.tensorflow_to_onnx`, or of its PyTorch model."""

    overlap = 0.4
    label_names = ("with_mask", "without_mask")

    SIZES = ((0.04, 0.056), (0.08, 0.11), (0.16, 0.22), (0.32, 0.45), (0.64, 0.72))
    RATIOS = (0.62, 0.42)
    VARIANCES = (0.1, 0.1, 0.2, 0.2)
    mean, deviation = 0.0, 255.0

    def _decode(self, outputs: list[Array], size: tuple[int, int]) -> Decoded:
        moves = next(output[0] for output in outputs if output.shape[-1] == 4) * self.VARIANCES
        classes = next(output[0] for output in outputs if output.shape[-1] == 2)
        centres, sides = self._anchors(size[0])
        middle = centres + moves[:, :2] * sides
        halves = np.exp(moves[:, 2:]) * sides / 2
        boxes = np.hstack([middle - halves, middle + halves]) * size[0]
        landmarks = _none(len(boxes))
        return boxes.astype(np.float32), classes.max(axis=1), landmarks, classes

    def _anchors(self, side: int) -> tuple[FloatArray, FloatArray]:
        """Centres and sides of the anchors, relative to a square input with this side in pixels.

        Raises:
            ModelError: its authors have no network with this input size.
        """
        if side not in AIZOO_MAPS:
            raise ModelError(f"AIZOO's detector takes images of 260 or 360 pixels, not {side}")
        centres, sides = [], []
        for cells, (large, second) in zip(AIZOO_MAPS[side], self.SIZES, strict=True):
            places = (np.arange(cells) + 0.5) / cells
            grid = np.stack(np.meshgrid(places, places), axis=-1).reshape(-1, 1, 2)
            shapes = [(large, large), (second, second)]
            shapes += [(large * np.sqrt(r), large / np.sqrt(r)) for r in self.RATIOS]
            centres.append(np.repeat(grid, len(shapes), axis=1).reshape(-1, 2))
            sides.append(np.tile(shapes, (cells * cells, 1)))
        return np.concatenate(centres), np.concatenate(sides)


PEERS: dict[str, type[PeerDetector]] = {
    "yunet": YuNet,
    "scrfd": Scrfd,
    "ultraface": UltraFace,
    "aizoo": Aizoo,
}


def _cells(size: tuple[int, int], stride: int, each: int) -> FloatArray:
    """(N, 2) column and row of every cell, row by row, `each` times."""
    rows, columns = np.mgrid[: size[0] // stride, : size[1] // stride]
    cells = np.stack([columns, rows], axis=-1).reshape(-1, 2).astype(np.float32)
    return np.repeat(cells, each, axis=0)


def _none(count: int) -> FloatArray:
    return np.zeros((count, 5, 2), np.float32)


def _joined(parts: list[tuple[FloatArray, FloatArray, FloatArray]]) -> Decoded:
    boxes, scores, landmarks = (np.concatenate(part) for part in zip(*parts, strict=True))
    return boxes.astype(np.float32), scores, landmarks, np.zeros((len(boxes), 0), np.float32)
