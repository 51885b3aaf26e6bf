# SPDX-License-Identifier: Apache-2.0
"""Reserve ROS domains that no other test suite on this machine uses at the same time."""

from __future__ import annotations

import fcntl
import itertools
import os
import tempfile
from pathlib import Path
from typing import IO

LOCKS = Path(tempfile.gettempdir()) / "mask_detector_ros_domains"

DOMAINS = range(1, 102)
"""Domains above 101 collide with ports that Linux hands out to clients."""

_turns = itertools.count()


def reserve_domain() -> tuple[int, IO[str]]:
    """Reserve a free domain; closing the returned file frees it."""
    LOCKS.mkdir(exist_ok=True)
    start = os.getpid() * 7 + next(_turns)
    for turn in range(len(DOMAINS)):
        domain = DOMAINS[(start + turn) % len(DOMAINS)]
        lock = (LOCKS / str(domain)).open("w", encoding="utf-8")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
        else:
            return domain, lock
    raise RuntimeError(f"all ROS domains are in use; see {LOCKS}")
