# SPDX-License-Identifier: Apache-2.0
"""Limit the process that opens an untrusted model: no network, bounded memory and time.

The checks of `carried_code` and `graph_operations` inspect the file. These limits hold regardless
of its content and of faults in the libraries that read it.
"""

import ctypes
import os
import platform
import resource
import struct
import sys
import threading
import time
from pathlib import Path

MEMORY_LIMIT_GB = 8.0
"""Memory limit in GB: TensorFlow takes 1, a MobileNet 0.2 more."""

TIME_LIMIT = 1800.0
"""Time limit in seconds; a MobileNet takes 30 on one core."""

_POLL = 0.2
_UNIX, _NETLINK = 1, 16
"""Socket families local to this machine; the C library lists network interfaces with the second."""

_MACHINES = {"x86_64": (0xC000003E, 41, 425), "aarch64": (0xC00000B7, 198, 425)}
"""Audit architecture, and the numbers of the system calls socket and io_uring_setup, which can also
open sockets. Source: linux/audit.h, and the system call tables of Linux 6."""


def limit_process(memory_gb: float = MEMORY_LIMIT_GB, seconds: float = TIME_LIMIT) -> None:
    """Forbid this process and its children to open network sockets, and limit its memory and time.

    This cannot be undone. Without seccomp (not Linux, or another processor) only memory and time
    are limited.
    """
    _forbid_sockets()
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
    threading.Thread(target=_watch, args=(memory_gb, seconds), daemon=True).start()


def _watch(memory_gb: float, seconds: float) -> None:
    end = time.monotonic() + seconds
    while True:
        time.sleep(_POLL)
        if time.monotonic() > end:
            _end(f"the conversion took longer than {seconds:g} s (--time-limit)")
        if _resident_gb() > memory_gb:
            _end(f"the conversion took more than {memory_gb:g} GB of memory (--memory-limit)")


def _resident_gb() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 1e9


def _end(reason: str) -> None:
    sys.stderr.write(f"error: {reason}; raise the limit if you trust the file\n")
    sys.stderr.flush()
    os._exit(1)


def _forbid_sockets() -> bool:
    """Make `socket` fail with EACCES, except for local families, by seccomp.

    Returns:
        Whether the kernel accepted the filter.
    """
    if sys.platform != "linux" or platform.machine() not in _MACHINES:
        return False
    audit, socket, io_uring = _MACHINES[platform.machine()]
    allow, deny = 0x7FFF0000, 0x00050000 | 13
    # Berkeley packet filter: operation, jump where true, jump where false, value. The data is
    # struct seccomp_data: number at 0, architecture at 4, first argument at 16.
    load, equal, larger, answer = 0x20, 0x15, 0x35, 0x06
    program = [
        (load, 0, 0, 4),
        (equal, 1, 0, audit),
        (answer, 0, 0, deny),
        (load, 0, 0, 0),
        (larger, 5, 0, 0x40000000),  # the x32 numbers of x86-64
        (equal, 4, 0, io_uring),
        (equal, 0, 4, socket),
        (load, 0, 0, 16),
        (equal, 2, 0, _UNIX),
        (equal, 1, 0, _NETLINK),
        (answer, 0, 0, deny),
        (answer, 0, 0, allow),
    ]
    code = b"".join(struct.pack("HBBI", *step) for step in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    header = struct.pack("HxxxxxxP", len(program), ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    no_new_privileges, set_seccomp, by_filter = 38, 22, 2
    if libc.prctl(no_new_privileges, 1, 0, 0, 0) != 0:
        return False
    return bool(libc.prctl(set_seccomp, by_filter, header, 0, 0) == 0)
