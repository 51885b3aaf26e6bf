# SPDX-License-Identifier: Apache-2.0
"""Map the label columns of a model to the labels of a data set, by their roles."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mask_detector_ros.errors import ModelError
from mask_detector_ros.evaluation.dataset import LABELS, WORN_INCORRECTLY
from mask_detector_ros.label_roles import guess_roles

LEFT_OUT = -1
"""Column of a label without a role, such as "background"."""


def label_columns(
    names: tuple[str, ...], model: str, roles: tuple[str, ...] | None = None
) -> list[int]:
    """Map each label column of a model to an index into `LABELS`, by role; `LEFT_OUT` for a label
    without one.

    Args:
        roles: role of each label; derived from its name unless given.

    Raises:
        ModelError: no label means with mask, or none without mask.
    """
    roles = guess_roles(names) if roles is None else roles
    if not set(LABELS[:WORN_INCORRECTLY]) <= set(roles):
        raise ModelError(
            f"{model} labels faces {', '.join(names)}; evaluate needs labels that mean {LABELS[0]}"
            f" and {LABELS[1]}, and may have one that means {LABELS[2]}: say which is which with"
            " keras_to_onnx --roles, or as roles in the model's metadata"
        )
    return [LABELS.index(role) if role in LABELS else LEFT_OUT for role in roles]


def to_data_set_labels(
    probabilities: NDArray[np.float32], columns: Sequence[int]
) -> NDArray[np.float32]:
    """Reorder the label columns of a model's probabilities to the order of `LABELS`.

    A known face shows one of them. So a label without a role is left out, and the others are
    divided by their sum: the face counts by the most probable label that has a role.

    Args:
        probabilities: (N, K) of the model's labels.
        columns: the result of `label_columns`.

    Returns:
        (N, 3); 0 for labels that the model lacks.
    """
    found = np.zeros((len(probabilities), len(LABELS)), np.float32)
    # Several labels may have one role, such as kinds of masks.
    for column, values in zip(columns, probabilities.T, strict=True):
        if column != LEFT_OUT:
            found[:, column] += values
    if LEFT_OUT not in columns:
        return found
    found /= np.maximum(found.sum(axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return found
