# SPDX-License-Identifier: Apache-2.0
"""Check Fast DDS's shared memory before a node starts.

A process that writes to a full /dev/shm is killed by SIGBUS without a message.
"""

import fcntl
import math
import os
import re
import stat
import time
from collections.abc import MutableMapping
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")

PROFILES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
"""Variables that name a profile: the current one, and that of Fast DDS 2."""

NEW = 10.0
"""Age in seconds below which a segment may still be in creation, before it is locked."""

_SEGMENT = re.compile(r"fast(?:rtps|dds)_[0-9a-f]{16}")
"""Names of segments of Fast DDS 2 and 3."""

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
    need = PROFILE_NEED if any(name in environment for name in PROFILES) else DEFAULT_NEED
    if (free := _free(folder)) >= need:
        return ""
    if remove_leftovers(folder) and (free := _free(folder)) >= need:
        return ""
    # A profile may configure shared memory; without one, this variable applies.
    for name in PROFILES:
        environment.pop(name, None)
    environment["FASTDDS_BUILTIN_TRANSPORTS"] = "UDPv4"
    return (
        f"{folder} has {free:.0f} MB free and shared memory takes {need} MB: using UDP, which is "
        "slower; enlarge it (--shm-size=512m of a container), or end other programs of ROS"
    )


def remove_leftovers(folder: Path = SHARED_MEMORY) -> int:
    """Remove the shared memory segments of killed programs, as `fastdds shm clean` does; return
    their number.

    A living program holds a lock on the file beside its segment.
    """
    removed = 0
    for lock in folder.glob("fast*_el"):
        segment = folder / lock.name.removesuffix("_el")
        try:
            if not _SEGMENT.fullmatch(segment.name) or time.time() - lock.stat().st_mtime < NEW:
                continue
            with lock.open("ab") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                segment.unlink(missing_ok=True)
                lock.unlink()
        except OSError:  # in use, another user's, or just removed
            continue
        removed += 1
    return removed


def _free(folder: Path) -> float:
    """Free memory in MB; infinite where there is no such folder."""
    try:
        status = os.statvfs(folder)
    except OSError:
        return math.inf
    return status.f_bavail * status.f_frsize / 2**20


def shared_memory_hint(root: Path = Path("/"), user: int | None = None) -> str:
    """Advice on shared memory for a subscriber that discovers publishers but receives nothing;
    empty if none fits.

    Args:
        root: the file system's root.
        user: the user's id; None for that of this process.
    """
    own = os.geteuid() if user is None else user
    if any(_is_closed_to_others(path, own) for path in (root / "dev/shm").glob("fast*")):
        return (
            "/dev/shm holds memory of another user, which cannot be shared: start camera and"
            " detector as one user, or both with FASTDDS_BUILTIN_TRANSPORTS=UDPv4"
        )
    if any((root / name).exists() for name in (".dockerenv", "run/.containerenv")):
        return (
            "this is a container: if it shares the network but not /dev/shm, it receives nothing; "
            "run it with --ipc=host, or with FASTDDS_BUILTIN_TRANSPORTS=UDPv4"
        )
    return ""


def _is_closed_to_others(path: Path, user: int) -> bool:
    """Whether a file is a segment of another user that this one cannot write."""
    try:
        status = path.stat()
    except OSError:
        return False
    is_segment = _SEGMENT.fullmatch(path.name) is not None
    return is_segment and status.st_uid != user and not status.st_mode & stat.S_IWOTH
