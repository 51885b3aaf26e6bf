# SPDX-License-Identifier: Apache-2.0
"""Fuzz everything that reads what others wrote.

    python -m fuzz [--seconds N] [--engine auto|hypothesis|atheris] [TARGET ...]

Each target runs in a process of its own for its share of the seconds. With atheris (`pip install
atheris`) it is guided by coverage, else by hypothesis. What is found lies in `out/fuzz/`; a case
that is understood belongs in `fuzz/corpus/TARGET/`, where a test replays it. Exit code 1 where
something was found.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from fuzz.targets import TARGETS

SLOWEST_INPUT = 20
"""Seconds that one input may take, on a busy machine too."""

MEMORY_MB = 4096


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=float, default=600.0, help="of all targets together")
    parser.add_argument("--engine", choices=("auto", "hypothesis", "atheris"), default="auto")
    parser.add_argument("--out", type=Path, default=Path("out/fuzz"), help="for what is found")
    arguments = parser.parse_args(argv)
    names = arguments.targets or list(TARGETS)
    if unknown := set(names) - set(TARGETS):
        parser.error(
            f"unknown targets {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}"
        )
    engine = arguments.engine
    if engine == "auto":
        engine = "atheris" if find_spec("atheris") else "hypothesis"
    found = 0
    for name in names:
        folder = arguments.out / name
        folder.mkdir(parents=True, exist_ok=True)
        seconds = arguments.seconds / len(names)
        found += not run_target(name, engine, seconds, folder)
    print(
        f"{engine}: {found} of {len(names)} targets found something"
        if found
        else f"{engine}: nothing found"
    )
    return 1 if found else 0


def run_target(name: str, engine: str, seconds: float, folder: Path) -> bool:
    """Whether a target's process ended well; else what it found lies in the folder."""
    command = [sys.executable, "-m", f"fuzz.with_{engine}", name, str(seconds), str(folder)]
    limit = 2 * seconds + 20 * SLOWEST_INPUT
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=limit
        )
        code, output = done.returncode, done.stdout + done.stderr
    except subprocess.TimeoutExpired as error:
        code, output = -1, f"it did not end: {error}"
    summary = next((line for line in output.splitlines() if line.startswith("DONE")), "")
    print(f"{name:<18} {summary.removeprefix('DONE ') or f'FOUND something (exit code {code})'}")
    if code:
        (folder / "log.txt").write_text(output)
        print("\n".join(output.splitlines()[-15:]))
    return code == 0


if __name__ == "__main__":
    sys.exit(main())
