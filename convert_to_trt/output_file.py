# SPDX-License-Identifier: Apache-2.0
"""Writing what the converters make."""

from __future__ import annotations

import os
from pathlib import Path

from mask_detector_ros.errors import ModelError


def write_file(path: Path, content: bytes) -> None:
    """Write the file as a whole or not at all, with the rights that any new file gets."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    except OSError as error:
        raise ModelError(f"cannot write {path} ({error.strerror}); give another with -o") from error
    finally:
        partial.unlink(missing_ok=True)
