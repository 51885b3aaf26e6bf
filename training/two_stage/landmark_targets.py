# SPDX-License-Identifier: Apache-2.0
"""Landmark targets for the decision network, since the photographs' labels have none.

Bare faces get the landmarks of the cascade `mtcnn_masked`, for compatibility. Masked faces, where
that cascade guesses, get those of the published YuNet, whose training labels included such faces.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional
from tqdm import tqdm

from mask_detector_ros import MaskDetector
from mask_detector_ros.imaging.boxes import intersection_over_union
from mask_detector_ros.output_file import OutputFile
from mask_detector_ros.sources import read_image
from training.mask_augmentation import WITHOUT_MASK
from training.two_stage.photographs import Boxes, Photograph
from training.two_stage.proposal_network import ProposalNetwork, decode_boxes, make_priors

SAME_FACE = 0.45
"""Minimum overlap of a detection with the labelled face that gets its landmarks."""

Found = tuple[Boxes, NDArray[np.float32]]
"""Maps an image to (N, 4) boxes and (N, 5, 2) landmarks."""

Finder = Callable[[NDArray[np.uint8]], Found]


def with_landmarks(
    photographs: list[Photograph], network: ProposalNetwork, cache: Path
) -> list[Photograph]:
    """Add landmark targets to the photographs: those that existing detectors find.

    Args:
        photographs: the photographs; landmarks are for their boxes.
        network: the published YuNet.
        cache: a .npz file that is read if it exists, and otherwise written.
    """
    if not cache.is_file():
        cascade = MaskDetector.load(
            detector_model="mtcnn_masked", min_face_size=16, backend="onnxruntime", threads=1
        )

        def find_bare(image: NDArray[np.uint8]) -> Found:
            faces = cascade(image)
            return faces.boxes, faces.landmarks

        targets = {
            photo.path.name: match_landmarks(
                photo, read_image(photo.path), find_bare, lambda image: _run_yunet(network, image)
            )
            for photo in tqdm(photographs, "landmarks")
        }
        with OutputFile(cache) as file:
            np.savez_compressed(file.partial, **targets)
            file.commit()
    known = np.load(cache)
    return [
        replace(p, landmarks=known[p.path.name]) if p.path.name in known else p for p in photographs
    ]


def match_landmarks(
    photo: Photograph, image: NDArray[np.uint8], find_bare: Finder, find_masked: Finder
) -> NDArray[np.float32]:
    """(N, 5, 2) landmark targets of a photograph's boxes; NaN if neither detector finds the
    face."""
    landmarks = np.full((len(photo.boxes), 5, 2), np.nan, np.float32)
    if not len(photo.boxes):
        return landmarks
    # The first detector that finds a face gives its landmarks: for bare faces the cascade,
    # otherwise YuNet.
    bare, masked = find_bare(image), find_masked(image)
    for index, box in enumerate(photo.boxes):
        order = (bare, masked) if photo.kinds[index] == WITHOUT_MASK else (masked, bare)
        for boxes, points in order:
            overlap = intersection_over_union(box[None], boxes)[0]
            if overlap.max(initial=0) >= SAME_FACE:
                landmarks[index] = points[overlap.argmax()]
                break
    return landmarks


def _run_yunet(network: ProposalNetwork, image: NDArray[np.uint8], threshold: float = 0.4) -> Found:
    """Run YuNet at the image's size and, for small faces, at twice that."""
    found_boxes, found_points = [], []
    for scale in (1, 2) if max(image.shape) <= 700 else (1,):
        pixels = cv2.resize(image, None, fx=scale, fy=scale) if scale > 1 else image
        tensor = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
        height, width = tensor.shape[2:]
        tensor = functional.pad(tensor, (0, -width % 32, 0, -height % 32))
        with torch.no_grad():
            outputs = network(tensor)
        priors = make_priors(*tensor.shape[2:])
        scores = (outputs["cls"].sigmoid() * outputs["obj"].sigmoid()).sqrt()[0, :, 0]
        chosen = scores >= threshold
        stride = priors[chosen, 2][:, None, None]
        points = outputs["kps"][0, chosen].unflatten(1, (5, 2)) * stride
        points = points + priors[chosen, None, :2]
        boxes = decode_boxes(outputs["bbox"][0, chosen], priors[chosen])
        order = scores[chosen].argsort(descending=True)
        found_boxes.append(boxes[order].numpy() / scale)
        found_points.append(points[order].numpy() / scale)
    return np.concatenate(found_boxes), np.concatenate(found_points)
