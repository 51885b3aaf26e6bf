# SPDX-License-Identifier: Apache-2.0
"""The faces on which the referee bases its verdict, with their known roles."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convert_to_trt.conversion_parity import classify_crops
from convert_to_trt.face_crops import FaceCrops, rendered_crops
from mask_detector_ros.classifier import Classifier
from mask_detector_ros.inference import create_session
from mask_detector_ros.label_roles import WITH_MASK, WITHOUT_MASK
from mask_detector_ros.models import SHIPPED_CLASSIFIER, find_classifier

CONFIDENCE = 0.8
"""Minimum probability at which the shipped classifier's label counts."""

FEWEST_OF_EACH = 8
"""Minimum number of crops with and without a mask for a verdict."""

MOST_CROPS = 144
"""Maximum number of given crops to use: each is classified under about ten settings."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """The faces on which the referee bases its verdict: the user's, then the rendered ones.

    Attributes:
        crops: the faces.
        roles: (N,) role of each; empty if uncertain.
        own: number of the user's crops.
        known: whether the user's folders give their roles.
    """

    crops: FaceCrops
    roles: NDArray[np.str_]
    own: int
    known: bool

    @property
    def counts(self) -> tuple[int, int]:
        """The referee's number of crops with and without mask: the user's, or otherwise the
        rendered ones."""
        roles = self.roles[: self.own] if self.own else self.roles
        return int((roles == WITH_MASK).sum()), int((roles == WITHOUT_MASK).sum())


def gather(given: FaceCrops | None) -> Evidence:
    """Gather the referee's evidence: the user's crops whose role is certain, then the rendered
    ones.

    Args:
        given: the user's crops; if None or too few, only the rendered ones are used.
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
    """The shipped classifier's role for each crop of the evidence; empty if uncertain."""
    shipped = find_classifier(SHIPPED_CLASSIFIER)
    session = create_session(shipped, SHIPPED_CLASSIFIER, "onnxruntime")
    classifier = Classifier(session)
    squares = crops.at(classifier.side)
    parts = [classify_crops(classifier, squares[i : i + 8]) for i in range(0, len(squares), 8)]
    probabilities = np.concatenate(parts)
    best, sure = probabilities.argmax(axis=1), probabilities.max(axis=1) >= CONFIDENCE
    names = classifier.label_roles
    return [names[k] if is_sure else "" for k, is_sure in zip(best, sure, strict=True)]
