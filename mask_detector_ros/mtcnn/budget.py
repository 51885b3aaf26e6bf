"""What a frame may cost: no image, whatever it shows, has more candidates examined."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Overrun:
    """A frame that had more candidates than `max_candidates`; the best were kept.

    Attributes:
        kept, found: candidates, as many as went on and as there were.
    """

    kept: int
    found: int

    def __str__(self) -> str:
        return f"frame over budget: kept {self.kept:,} of {self.found:,} candidates"

    @classmethod
    def of(cls, kept: int, found: int) -> Overrun | None:
        """None for a frame within the budget."""
        return cls(kept, found) if found > kept else None
