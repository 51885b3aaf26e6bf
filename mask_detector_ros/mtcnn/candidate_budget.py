# SPDX-License-Identifier: Apache-2.0
"""The candidate budget, which bounds the cost of any frame."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Overrun:
    """A frame that had more candidates than the budget `max_candidates`; the best were kept."""

    kept: int
    found: int

    def __str__(self) -> str:
        return f"frame over budget: kept {self.kept:,} of {self.found:,} candidates"

    @classmethod
    def of(cls, kept: int, found: int) -> Overrun | None:
        """Make the Overrun of a frame, or None within the candidate budget."""
        return cls(kept, found) if found > kept else None
