# SPDX-License-Identifier: Apache-2.0
"""The exception of the set-up: what happened, what to do, and where the details are."""

from __future__ import annotations

from pathlib import Path


class SetupError(Exception):
    """A step failed; the text is the line that the user sees."""

    def __init__(self, problem: str, remedy: str, log: Path | None = None) -> None:
        details = f" (details: {log})" if log else ""
        super().__init__(f"{problem}; do: {remedy}{details}")
