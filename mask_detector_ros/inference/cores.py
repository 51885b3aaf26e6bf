"""How many cores this process has."""

from __future__ import annotations

import math
import os
from pathlib import Path

_CPUS = Path("/sys/devices/system/cpu")
_QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""Of a container: microseconds of processor time, or `max`, and in how many they may be spent."""


def usable_cores() -> int:
    """Cores that this process may run on, hardware threads of one core counted once, or as many
    as its container's share of processor time comes to, if they are fewer."""
    cores = {_siblings(cpu) for cpu in os.sched_getaffinity(0)}
    return math.ceil(min(len(cores), _read_quota()))


def _siblings(cpu: int) -> str:
    try:
        return (_CPUS / f"cpu{cpu}" / "topology" / "thread_siblings_list").read_text()
    except OSError:
        return str(cpu)


def _read_quota() -> float:
    """Processors whose whole time the container may take; infinite without a limit."""
    try:
        spent, period = _QUOTA.read_text().split()
        return max(int(spent) / int(period), 1e-3)
    except (OSError, ValueError, ZeroDivisionError):
        return math.inf
