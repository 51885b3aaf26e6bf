# SPDX-License-Identifier: Apache-2.0
"""DDS environment variables for fast transport of large images between processes."""

import os
from collections.abc import Mapping
from pathlib import Path

FAST_DDS_2_LIBRARY = "libfastrtps.so*"
"""Fast DDS 2, of ROS 2 Humble to Jazzy; the library of Fast DDS 3 is libfastdds."""


def image_environment(config: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """DDS environment variables of every process that sends or receives images.

    Args:
        config: the folder that holds `shared_memory.xml`.
        environment: the current variables; values set by the user are kept.
    """
    wanted = {
        # Without the profile's larger shared memory, most best-effort images are lost.
        profile_variable(environment): str(config / "shared_memory.xml"),
        # By default glibc maps and unmaps each block of an image's size, so that every frame
        # has page faults; below these sizes it reuses the memory.
        "MALLOC_MMAP_THRESHOLD_": str(128 * 1024 * 1024),
        "MALLOC_TRIM_THRESHOLD_": str(256 * 1024 * 1024),
    }
    return {name: value for name, value in wanted.items() if name not in environment}


def profile_variable(environment: Mapping[str, str]) -> str:
    """The environment variable in which the installed Fast DDS looks for its profile.

    Fast DDS 2 knows only the old name; Fast DDS 3 warns about it. The installed library decides:
    ROS_DISTRO is not set where ROS comes from Python wheels.
    """
    prefixes = filter(None, environment.get("AMENT_PREFIX_PATH", "").split(os.pathsep))
    old = any(any(Path(prefix, "lib").glob(FAST_DDS_2_LIBRARY)) for prefix in prefixes)
    return f"FAST{'RTPS' if old else 'DDS'}_DEFAULT_PROFILES_FILE"
