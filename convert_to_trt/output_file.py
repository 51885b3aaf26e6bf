# SPDX-License-Identifier: Apache-2.0
"""Write the converters' output files."""

from __future__ import annotations

import os
from pathlib import Path

from mask_detector_ros.errors import ModelError


def write_file(path: Path, content: bytes) -> None:
    """Write a converted file atomically, with the default permissions of a new file."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    except OSError as error:
        raise ModelError(
            f"cannot write {path} ({error.strerror}); give another path with -o"
        ) from error
    finally:
        partial.unlink(missing_ok=True)
