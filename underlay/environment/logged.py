# SPDX-License-Identifier: Apache-2.0
"""Run verbose tools quietly: their output goes to a file, and its most telling line into the
error."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from environment.errors import SetupError

_DISK_FULL = "No space left on device"
_UNREACHABLE = re.compile(
    r"NewConnectionError|Failed to establish a new connection|Connection refused"
    r"|Temporary failure in name resolution|timed out|ProxyError|SSLError|Connection reset"
    r"|Network is unreachable|IncompleteRead|ConnectionResetError"
)
# Patterns from most to least telling. The first line of a CMake error is only its location.
_TELLING = [
    re.compile(pattern, re.MULTILINE)
    for pattern in (r"^CMake Error.*\n+.+", r"^.*\berror: .*", r"^ERROR: .*", r"^FAILED: .*")
]


def run_logged(
    command: Sequence[str | Path], what: str, log: Path, environ: Mapping[str, str]
) -> None:
    """Run a command of the set-up with its output appended to `log`.

    Raises:
        SetupError: the command failed; names the likely cause and the log.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a+b") as output:
        start = output.tell()
        output.write(f"$ {' '.join(map(str, command))}\n".encode())
        output.flush()
        finished = subprocess.run(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(environ),
            check=False,
        )
        output.seek(start)
        text = output.read().decode(errors="replace")
    if finished.returncode != 0:
        raise explain(what, text, log)


def explain(what: str, output: str, log: Path) -> SetupError:
    """The error for a failed command of the set-up, derived from its logged output."""
    if _DISK_FULL in output:
        return SetupError(
            f"{what} failed, the disk is full",
            "free some space (2 GiB) and run 'make setup' again",
            log,
        )
    if _UNREACHABLE.search(output):
        return SetupError(
            f"{what} failed, the package index cannot be reached",
            "check the network or pip's index and proxy settings and run 'make setup' again",
            log,
        )
    telling = next(filter(None, (pattern.search(output) for pattern in _TELLING)), None)
    reason = f" ({' '.join(telling[0].split())})" if telling else ""
    return SetupError(f"{what} failed{reason}", "read the log, then run 'make setup' again", log)
