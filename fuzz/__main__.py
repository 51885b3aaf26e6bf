# SPDX-License-Identifier: Apache-2.0
"""Fuzz everything that parses external input.

    python -m fuzz [--seconds N] [--seed N] [--engine auto|hypothesis|atheris] [TARGET ...]

Each target runs in a separate process for its share of the time. With atheris (`pip install
atheris`) the fuzzing is guided by coverage, otherwise hypothesis generates the input. Findings go
to `out/fuzz/`; once fixed, put the input into `fuzz/corpus/TARGET/`, where a test replays it. Exit
code 1 if something was found.
"""

import argparse
import random
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from fuzz.targets import TARGETS

SLOWEST_INPUT = 20
"""Maximum seconds per input, sufficient on a busy machine."""

MEMORY_MB = 1500


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument(
        "--seconds", type=float, default=600.0, help="total seconds over all targets"
    )
    parser.add_argument(
        "--seed", type=int, help="what the inputs are drawn from; without it, new ones each time"
    )
    parser.add_argument("--engine", choices=("auto", "hypothesis", "atheris"), default="auto")
    parser.add_argument("--out", type=Path, default=Path("out/fuzz"), help="folder for findings")
    arguments = parser.parse_args(argv)
    names = arguments.targets or list(TARGETS)
    if unknown := set(names) - set(TARGETS):
        parser.error(
            f"unknown targets {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}"
        )
    engine = arguments.engine
    if engine == "auto":
        engine = "atheris" if find_spec("atheris") else "hypothesis"
    # libFuzzer takes 0 for a random seed.
    seed = arguments.seed or random.randrange(1, 1 << 30)
    found = 0
    for name in names:
        folder = arguments.out / name
        folder.mkdir(parents=True, exist_ok=True)
        seconds = arguments.seconds / len(names)
        found += not run_target(name, engine, seconds, folder, seed)
    print(
        f"{engine}: {found} of {len(names)} targets found something"
        if found
        else f"{engine}: nothing found"
    )
    return 1 if found else 0


def run_target(name: str, engine: str, seconds: float, folder: Path, seed: int) -> bool:
    """Run one fuzz target in a process; return whether it succeeded. Otherwise its finding is in
    the folder."""
    command = [sys.executable, "-m", f"fuzz.with_{engine}", name, str(seconds), str(folder)]
    command.append(str(seed))
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
