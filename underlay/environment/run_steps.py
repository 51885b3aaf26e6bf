# SPDX-License-Identifier: Apache-2.0
"""Run the missing steps of `make setup`, with one line per step."""

from __future__ import annotations

import argparse
import fcntl
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from environment.errors import SetupError
from environment.steps import REPOSITORY, Environment, Step
from environment.surroundings import check_all, inspect_machine


def main(arguments: Sequence[str] | None = None) -> int:
    """Make or complete the environment; return 0, or print one line on stderr and return another
    code."""
    parser = argparse.ArgumentParser(prog="setup_environment.py", description=__doc__)
    parser.add_argument("--venv", type=Path, default=REPOSITORY / ".venv", metavar="DIRECTORY")
    parser.add_argument("--full", action="store_true", help="also what `make test-full` needs")
    options = parser.parse_args(arguments)
    venv = Path(os.path.abspath(options.venv))
    try:
        leave_own_venv(venv)
        with lock_directory(venv):
            set_up(venv, options.full)
    except SetupError as error:
        return print_error(str(error))
    except OSError as error:
        return print_error(f"{error}; do: fix that and run 'make setup' again")
    except KeyboardInterrupt:
        print_error("interrupted; do: run 'make setup' again, which resumes")
        return 130
    return 0


def why_without_ros(environ: Mapping[str, str]) -> str:
    """The line that says why the set-up runs its steps without ROS."""
    if environ.get("ROS_WHEELS") == "none":
        return "setting up without ROS 2, as ROS_WHEELS=none asks"
    return (
        "no ROS 2: none is sourced, and there are wheels only for CPython 3.10 to 3.13 on "
        "x86-64 Linux; setting up without it (with another Python: make setup PYTHON=python3.11)"
    )


def set_up(venv: Path, full: bool = False) -> None:
    """Run the steps of the set-up whose stamp is missing or outdated."""
    here = inspect_machine(os.environ, venv)
    environment = Environment(venv, here)
    steps = environment.steps(full)
    pending = [step for step in steps if not is_done(step, venv)]
    if not pending:
        return
    check_all(here, venv)
    if here.without_ros:
        print(why_without_ros(os.environ), flush=True)
    if pending[0] is steps[0]:
        pending = steps
        for step in steps:
            stamp(step, venv).unlink(missing_ok=True)
    environment.log.unlink(missing_ok=True)
    for number, step in enumerate(pending, start=1):
        print(f"[{number}/{len(pending)}] {step.title} ... ", end="", flush=True)
        started = time.monotonic()
        do(step, venv)
        print(f"{time.monotonic() - started:.0f} s", flush=True)


def do(step: Step, venv: Path) -> None:
    """Run one step of the set-up. Its stamp is removed first, so that an interrupted step runs
    again."""
    stamp(step, venv).unlink(missing_ok=True)
    try:
        step.action()
    except (SetupError, OSError, KeyboardInterrupt):
        print("failed", flush=True)
        raise
    stamp(step, venv).parent.mkdir(parents=True, exist_ok=True)
    stamp(step, venv).write_text(step.fingerprint, encoding="utf-8")


def is_done(step: Step, venv: Path) -> bool:
    """Whether a step of the set-up has been run and its inputs have not changed since."""
    file = stamp(step, venv)
    return file.exists() and file.read_text(encoding="utf-8") == step.fingerprint


def stamp(step: Step, venv: Path) -> Path:
    """The stamp of a finished step of the set-up: a file with its fingerprint."""
    return venv / "setup" / f"{step.name}.done"


@contextmanager
def lock_directory(venv: Path) -> Iterator[None]:
    """Lock an environment, so that one set-up runs its steps at a time; others wait."""
    venv.mkdir(exist_ok=True)
    descriptor = os.open(venv, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("waiting for another set-up of this environment ...", flush=True)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        with suppress(OSError):
            venv.rmdir()  # where nothing was made
        os.close(descriptor)


def leave_own_venv(venv: Path) -> None:
    """Restart the set-up with the base Python if `python3` belongs to the environment to be
    made."""
    base = getattr(sys, "_base_executable", None)
    if Path(sys.prefix) == venv and base and base != sys.executable:
        os.environ.pop("_ROS_WHEELS_BOOTSTRAP_COMPLETE", None)
        os.execv(base, [base, *sys.argv])


def print_error(line: str) -> int:
    """Print the error of a failed step on one line of stderr; return the exit code."""
    sys.stdout.flush()
    sys.stderr.write(f"error: {' '.join(line.split())}\n")
    return 1
