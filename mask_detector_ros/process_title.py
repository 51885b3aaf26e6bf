# SPDX-License-Identifier: Apache-2.0
"""Hide secrets in this process's command line, which every user of the machine can list."""

import ctypes
from pathlib import Path

from mask_detector_ros.redaction import without_password

_ARG_START, _ARG_END = 48, 49
"""Fields of /proc/PID/stat, counted from 1 (proc(5))."""


def hide_secrets_in_process_list() -> None:
    """Overwrite the secrets in this process's title, its arguments in the process list; nothing
    where /proc is missing.

    Linux shows the memory in which the process was given its arguments.
    """
    try:
        # The second field, a name in parentheses, may hold spaces.
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        start, end = (int(fields[number - 3]) for number in (_ARG_START, _ARG_END))
        arguments = Path("/proc/self/cmdline").read_bytes()
    except (OSError, ValueError, IndexError):
        return
    if not 0 < start < end or len(arguments) != end - start:
        return
    place = start
    for argument in arguments.split(b"\0"):
        text = argument.decode(errors="surrogateescape")
        shown = without_password(text)
        if shown != text:
            hidden = shown.encode(errors="surrogateescape")[: len(argument)]
            ctypes.memmove(place, hidden.ljust(len(argument)), len(argument))
        place += len(argument) + 1
