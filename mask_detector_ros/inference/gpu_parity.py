# SPDX-License-Identifier: Apache-2.0
"""Parity check of a GPU backend: compare its results with ONNX Runtime's on the CPU for the same
file."""

from collections.abc import Iterable

import cv2
import numpy as np

from mask_detector_ros.errors import ModelError
from mask_detector_ros.inference.session import Array, Session

LIMITS = {"fp32": 1e-3, "fp16": 0.04}
"""Largest allowed difference of an output. All outputs are probabilities or fractions of a box."""

LOW_SCORE = 0.3
"""Scores below this are below every threshold and may differ: ONNX Runtime clamps the sigmoid on a
CPU, and the root and power at the end of some networks amplify that."""

QUANTISED_LIMIT = 0.15
"""Tolerance for int8 networks: the two round halves differently, and the steps add up."""


def check_parity(
    session: Session,
    reference: Session,
    shapes: Iterable[dict[str, tuple[int, ...]]],
    precision: str,
    quantised: bool = False,
) -> float:
    """Compare a GPU session with the CPU session at each of the shapes; return the largest
    difference.

    Args:
        shapes: shapes of every input, by name.

    Raises:
        ModelError: results differ by more than the precision allows, or are not finite.
    """
    limit = QUANTISED_LIMIT if quantised else LIMITS[precision]
    largest = 0.0
    for number, step in enumerate(shapes):
        arrays = {
            tensor.name: _pixels(step[tensor.name], tensor.dtype, reference.metadata, number)
            for tensor in reference.inputs
        }
        got, wanted = session.run(**arrays), reference.run(**arrays)
        for name, values in wanted.items():
            if got[name].shape != values.shape:
                raise ModelError(
                    f"{session.name} on {session.device} gives {name} {got[name].shape},"
                    f" the CPU gives {values.shape}"
                )
            difference = _difference(got[name], values, name.startswith("scores"))
            largest = max(largest, difference)
            # Written so that NaN fails.
            if not difference <= limit:
                raise ModelError(
                    f"{session.name} on {session.device} in {precision} differs from the CPU"
                    f" by {difference:.2g} in {name} at {step}, allowed is {limit:g}"
                    + ("; use precision:=fp32" if precision != "fp32" else "")
                )
    return largest


def _difference(got: Array, wanted: Array, are_scores: bool) -> float:
    difference = np.abs(got.astype(np.float64) - wanted)
    if are_scores:
        # Written so that NaN does not count as a low score.
        difference[(got < LOW_SCORE) & (wanted < LOW_SCORE)] = 0
    return float(difference.max(initial=0.0))


def _pixels(
    shape: tuple[int, ...], dtype: np.dtype[np.generic], metadata: object, seed: int
) -> Array:
    """Smooth noise in the value range that the network's metadata names."""
    chance = np.random.default_rng(seed)
    batch, *rest = shape
    is_nchw = len(rest) == 3 and rest[0] == 3
    height, width = (rest[1:] if is_nchw else rest[:2]) if len(rest) == 3 else (1, 1)
    values = np.empty(shape, np.float32)
    for i in range(batch):
        spots = chance.integers(0, 256, (6, 8, 3)).astype(np.float32)
        image = cv2.resize(spots, (width, height), interpolation=cv2.INTER_CUBIC)
        noisy = np.rint(image + chance.normal(0, 8, image.shape))
        image = np.clip(noisy, 0, 255).astype(np.float32)
        values[i] = image.transpose(2, 0, 1) if is_nchw else image
    if dtype == np.uint8:
        return values.astype(np.uint8)
    get = getattr(metadata, "get", lambda key, default: default)
    scale, offset = float(get("scale", 1.0)), float(get("offset", 0.0))
    return (values * scale + offset).astype(dtype)
