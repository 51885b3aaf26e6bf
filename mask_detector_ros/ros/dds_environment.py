# SPDX-License-Identifier: Apache-2.0
"""Environment variables for fast transport of large images between processes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

FAST_DDS_2_DISTRIBUTIONS = ("humble", "iron", "jazzy")


def image_environment(config: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Variables of every process that sends or receives images.

    Args:
        config: the folder that holds `shared_memory.xml`.
        environment: the current variables; values set by the user are kept.
    """
    # Fast DDS 2 knows only the old name of the variable; later releases warn about that name.
    old = environment.get("ROS_DISTRO") in FAST_DDS_2_DISTRIBUTIONS
    wanted = {
        # Without the profile's larger shared memory, most best-effort images are lost.
        f"FAST{'RTPS' if old else 'DDS'}_DEFAULT_PROFILES_FILE": str(config / "shared_memory.xml"),
        # By default glibc maps and unmaps each block of an image's size, so that every frame
        # has page faults; below these sizes it reuses the memory.
        "MALLOC_MMAP_THRESHOLD_": str(128 * 1024 * 1024),
        "MALLOC_TRIM_THRESHOLD_": str(256 * 1024 * 1024),
    }
    return {name: value for name, value in wanted.items() if name not in environment}
