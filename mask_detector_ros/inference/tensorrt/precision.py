"""What a network may compute in on a GPU."""

from __future__ import annotations

from collections.abc import Iterable

_PLACES = ("boxes", "offsets")
"""How outputs begin that say where a face is: of the stages (`boxes_8` of a proposal network), and
of a whole cascade."""


def precision_of(outputs: Iterable[str], asked: str) -> str:
    """The precision that a network is built in: as asked, but float32 where it places faces.

    Suppression keeps the best of many proposals that score nearly alike, and crops are cut in
    whole pixels: the least rounding makes it take another proposal, or move a crop by a pixel,
    which a small face does not bear. `benchmark.half_precision` shows what that costs.

    Args:
        outputs: the names of the network's outputs.
        asked: `auto`, `fp32` or `fp16`.
    """
    return "fp32" if any(name.startswith(_PLACES) for name in outputs) else asked
