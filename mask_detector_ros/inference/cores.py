# SPDX-License-Identifier: Apache-2.0
"""The processor cores available to this process."""

import math
import os
from pathlib import Path

_PROCESSORS = Path("/sys/devices/system/cpu")
_QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""A container's CPU quota in microseconds, or `max`, and its period in microseconds."""


def usable_cores() -> int:
    """Number of physical cores that this process may run on, limited by its container's CPU
    quota."""
    cores = {_core_of(processor) for processor in os.sched_getaffinity(0)}
    return math.ceil(min(len(cores), _read_quota()))


def fastest_processors(count: int) -> set[int]:
    """Choose `count` of the processors that this process may run on: highest clock first, and one
    per core before the second of any core."""
    by_clock = sorted(
        os.sched_getaffinity(0), key=lambda p: -int(_read(p, "cpufreq/cpuinfo_max_freq") or 0)
    )
    first_of = {_core_of(processor): processor for processor in reversed(by_clock)}
    firsts = set(first_of.values())
    return set(sorted(by_clock, key=lambda processor: processor not in firsts)[:count])


def _core_of(processor: int) -> str:
    return _read(processor, "topology/thread_siblings_list") or str(processor)


def _read(processor: int, what: str) -> str:
    try:
        return (_PROCESSORS / f"cpu{processor}" / what).read_text()
    except OSError:
        return ""


def _read_quota() -> float:
    """The container's CPU quota in processors; infinite without a limit."""
    try:
        spent, period = _QUOTA.read_text().split()
        return max(int(spent) / int(period), 1e-3)
    except (OSError, ValueError, ZeroDivisionError):
        return math.inf
