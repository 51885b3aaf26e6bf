# SPDX-License-Identifier: Apache-2.0
"""Find the package's shared files, which are not Python."""

from pathlib import Path

PACKAGE = Path(__file__).absolute().parent


def find_shared(name: str, file: str) -> Path | None:
    """Find the folder `name` of shared files that contains the given one; None if there is none.

    It lies beside the source tree, or under `share` of an installation.
    """
    folders = [PACKAGE.parent / name]
    folders += [p / "share" / "mask_detector_ros" / name for p in PACKAGE.parents]
    return next((folder for folder in folders if (folder / file).is_file()), None)
