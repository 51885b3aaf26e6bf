# SPDX-License-Identifier: Apache-2.0
"""Choose a network's precision on a GPU."""

from collections.abc import Iterable

_PLACES = ("boxes", "offsets")
"""Prefixes of outputs that place faces: of the stages (`boxes_8` of a proposal network) and of a
single-file cascade."""


def precision_of(outputs: Iterable[str], asked: str) -> str:
    """The precision to build a network in: as requested, but float32 if it places faces.

    Suppression picks the best of many proposals with nearly equal scores, and crops are cut in
    whole pixels. The smallest rounding can select another proposal or move a crop by a pixel,
    which is too much for a small face. `benchmark.half_precision` measures the effect.
    """
    return "fp32" if any(name.startswith(_PLACES) for name in outputs) else asked
