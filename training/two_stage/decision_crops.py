# SPDX-License-Identifier: Apache-2.0
"""A batch of training crops of the decision network."""

from dataclasses import dataclass

from torch import Tensor

NO_LABEL = -1


@dataclass(frozen=True)
class Crops:
    """Training crops (views) of the decision network, with their targets.

    Attributes:
        pixels: (B, 3, S, S) float32 BGR, 0 to 255.
        labels: (B,) index into `LABELS`, `NO_LABEL` for background.
        taught: (B, K) the teachers' label probabilities; zeros without a teacher.
        is_face: (B,) bool.
        score_weight: (B,) weight in the score loss; 0 where it is unclear whether it is a face.
        label_weight: (B,) reliability of the label; 0 for background.
        boxes: (B, 4) box of the face, relative to the crop's side.
        box_weight: (B,) weight in the box loss; 0 for background, and if the box is not ground
            truth.
        landmarks: (B, 5, 2) relative to the crop's side; NaN if unknown.
    """

    pixels: Tensor
    labels: Tensor
    taught: Tensor
    is_face: Tensor
    score_weight: Tensor
    label_weight: Tensor
    boxes: Tensor
    box_weight: Tensor
    landmarks: Tensor
