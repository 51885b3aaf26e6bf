# SPDX-License-Identifier: Apache-2.0
"""Separate environments for heavy packages: `make convert-env` and `make tensorrt-env`."""

import os
import sys
from pathlib import Path

from mask_detector_ros import virtual_environments
from mask_detector_ros.cli.command import run_command
from mask_detector_ros.errors import BackendError
from mask_detector_ros.virtual_environments import clean_variables, python_of

REPOSITORY = Path(__file__).resolve().parents[1]
ENVIRONMENT = REPOSITORY / ".venv" / "convert"
REQUIREMENTS = Path(__file__).with_name("requirements.txt")
TENSORRT_ENVIRONMENT = REPOSITORY / ".venv" / "tensorrt"
TENSORRT_REQUIREMENTS = Path(__file__).with_name("tensorrt_requirements.txt")

STAMP = "requirements.sha256"


def facts(requirements: Path = REQUIREMENTS) -> list[str]:
    """The inputs that a converter environment is made from: its requirements without comments."""
    lines = requirements.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def is_ready(environment: Path = ENVIRONMENT, requirements: Path = REQUIREMENTS) -> bool:
    """Whether a converter environment is complete and made from these requirements."""
    return virtual_environments.is_current(environment / STAMP, facts(requirements))


def make(environment: Path = ENVIRONMENT, requirements: Path = REQUIREMENTS) -> None:
    """Make a converter environment if it is missing or its requirements have changed.

    Raises:
        BackendError: the packages could not be installed.
    """
    if is_ready(environment, requirements):
        return
    print(f"making {environment.name} (a few minutes; up to 2 GB)", flush=True)
    try:
        virtual_environments.make(environment, ["-r", str(requirements)])
    except virtual_environments.InstallError as error:
        raise BackendError(
            f"the packages {error}; check the network and run again: make {environment.name}-env"
        ) from error
    virtual_environments.set_stamp(environment / STAMP, facts(requirements))


def change_into(module: str, arguments: list[str], environment: Path = ENVIRONMENT) -> None:
    """Run `module` in the converters' environment instead of this process.

    Raises:
        BackendError: the environment is missing or not up to date.
    """
    python = python_of(environment)
    if Path(sys.prefix) == environment or not is_ready(environment):
        raise BackendError(
            "the converters are not installed, or not up to date; do: make convert-env"
        )
    variables = {**clean_variables(), "PYTHONPATH": str(REPOSITORY)}
    sys.stdout.flush()
    os.execve(python, [str(python), "-m", module, *arguments], variables)


def main(names: list[str]) -> int:
    """Make the environment `convert` or `tensorrt`; return the exit code."""
    tensorrt = (TENSORRT_ENVIRONMENT, TENSORRT_REQUIREMENTS)
    return run_command(lambda: make(*(tensorrt if names == ["tensorrt"] else ())) or 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
