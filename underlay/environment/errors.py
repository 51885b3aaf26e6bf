# SPDX-License-Identifier: Apache-2.0
"""The one exception of the set-up: what happened, what to do, and where the details are."""

from __future__ import annotations

from pathlib import Path


class SetupError(Exception):
    """A step cannot be done; its text is the one line that the user sees."""

    def __init__(self, problem: str, remedy: str, log: Path | None = None) -> None:
        details = f" (details: {log})" if log else ""
        super().__init__(f"{problem}; do: {remedy}{details}")
