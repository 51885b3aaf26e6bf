# SPDX-License-Identifier: Apache-2.0
"""Check Fast DDS's shared memory before a node starts.

A process that writes to a full /dev/shm is killed by SIGBUS without a message.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")

PROFILES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
"""Variables that name a profile: the current one, and that of Fast DDS 2."""

PROFILE_NEED, DEFAULT_NEED = 72, 8
"""Shared memory of a node in MB: with our profile, whose segment has 64, and without one."""


def avoid_full_shared_memory(
    environment: MutableMapping[str, str], folder: Path = SHARED_MEMORY
) -> str:
    """Switch Fast DDS to UDP if its shared memory is full; return the reason or an empty string.

    Args:
        environment: the process's environment; it is modified.
        folder: the shared memory's mount point.
    """
    try:
        status = os.statvfs(folder)
    except OSError:
        return ""
    free = status.f_bavail * status.f_frsize / 2**20
    need = PROFILE_NEED if any(name in environment for name in PROFILES) else DEFAULT_NEED
    if free >= need:
        return ""
    # A profile may configure shared memory; without one, this variable applies.
    for name in PROFILES:
        environment.pop(name, None)
    environment["FASTDDS_BUILTIN_TRANSPORTS"] = "UDPv4"
    return (
        f"{folder} has {free:.0f} MB free and shared memory takes {need} MB: using UDP, which is "
        "slower; remove leftovers of crashed programs with `fastdds shm clean`, or enlarge it"
    )


def private_shared_memory_hint(root: Path = Path("/")) -> str:
    """Advice for a container whose shared memory is private, so that it discovers publishers but
    receives nothing; else empty."""
    if not any((root / name).exists() for name in (".dockerenv", "run/.containerenv")):
        return ""
    return (
        "this is a container: if it shares the network but not /dev/shm, it receives nothing; "
        "run it with --ipc=host, or with FASTDDS_BUILTIN_TRANSPORTS=UDPv4"
    )
