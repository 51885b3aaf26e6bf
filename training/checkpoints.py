# SPDX-License-Identifier: Apache-2.0
"""Write files so that an interruption does not damage them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file with `write`; the old file stays until it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".partial")
    write(unfinished)
    os.replace(unfinished, path)
