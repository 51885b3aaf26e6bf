# SPDX-License-Identifier: Apache-2.0
"""Describe the machine that a measurement ran on."""

import os
import platform
from pathlib import Path
from typing import Any

_CPUINFO = Path("/proc/cpuinfo")

_VECTORS = {"avx512f": "AVX-512", "avx2": "AVX2", "sve": "SVE", "asimd": "NEON"}
"""Vector instruction sets by CPU flag, widest first."""


def describe_machine() -> dict[str, Any]:
    """Describe this machine: processor, cores, memory in GiB, system, and the load average of the
    last minute."""
    pages, page = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(pages * page / 2**30, 1),
        "system": platform.platform(),
        "load": round(os.getloadavg()[0], 2),
    }


def _processor() -> str:
    """The processor's name and widest vector instructions, which decide a network's cost."""
    first, _, _ = _CPUINFO.read_text(encoding="utf-8").partition("\n\n")
    lines = (line.partition(":") for line in first.splitlines())
    about = {key.strip(): value.strip() for key, _, value in lines}
    name = about.get("model name", platform.machine())
    flags = about.get("flags", about.get("Features", "")).split()
    widest = next((vectors for flag, vectors in _VECTORS.items() if flag in flags), "")
    return f"{name} with {widest}" if widest else name
