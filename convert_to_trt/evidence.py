# SPDX-License-Identifier: Apache-2.0
"""The faces that the referee judges by, and what they show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convert_to_trt.face_crops import FaceCrops, rendered_crops
from convert_to_trt.parity import classify_crops
from mask_detector_ros.classifier import Classifier
from mask_detector_ros.inference import create_session
from mask_detector_ros.models import SHIPPED_CLASSIFIER, find_classifier
from mask_detector_ros.roles import WITH_MASK, WITHOUT_MASK

CONFIDENCE = 0.8
"""Probability from which on the shipped classifier's word counts."""

FEWEST_OF_EACH = 8
"""Crops with and without a mask that a verdict needs at least."""

MOST_CROPS = 144
"""Crops that are used of those given: each is classified under some ten settings."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """The faces that a verdict rests on: the user's, then the rendered ones.

    Attributes:
        crops: the faces.
        roles: (N,) what each shows; empty where that is not sure.
        own: how many of them are the user's.
        known: whether the user's folders said what they show.
    """

    crops: FaceCrops
    roles: NDArray[np.str_]
    own: int
    known: bool

    @property
    def counts(self) -> tuple[int, int]:
        """How many crops count, with and without mask: the user's, or else the rendered ones."""
        roles = self.roles[: self.own] if self.own else self.roles
        return int((roles == WITH_MASK).sum()), int((roles == WITHOUT_MASK).sum())


def gather(given: FaceCrops | None) -> Evidence:
    """The user's crops, as far as it is sure what they show, with the rendered ones after them.

    Args:
        given: the user's; None or too few for the rendered ones alone.
    """
    rendered = rendered_crops()
    if given is not None:
        few = given.few(MOST_CROPS)
        roles = few.roles or tuple(judge_crops(few))
        if min(roles.count(WITH_MASK), roles.count(WITHOUT_MASK)) >= FEWEST_OF_EACH:
            both = FaceCrops((*few.images, *rendered.images), (*roles, *rendered.roles))
            return Evidence(both, np.array(both.roles), len(roles), bool(given.roles))
    return Evidence(rendered, np.array(rendered.roles), 0, True)


def judge_crops(crops: FaceCrops) -> list[str]:
    """What the shipped classifier says of each crop: a role, or empty where it is not sure."""
    shipped = find_classifier(SHIPPED_CLASSIFIER)
    session = create_session(shipped, SHIPPED_CLASSIFIER, "onnxruntime")
    classifier = Classifier(session)
    squares = crops.at(classifier.side)
    parts = [classify_crops(classifier, squares[i : i + 8]) for i in range(0, len(squares), 8)]
    probabilities = np.concatenate(parts)
    best, sure = probabilities.argmax(axis=1), probabilities.max(axis=1) >= CONFIDENCE
    names = classifier.label_roles
    return [names[k] if is_sure else "" for k, is_sure in zip(best, sure, strict=True)]
