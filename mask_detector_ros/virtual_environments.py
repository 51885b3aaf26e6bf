# SPDX-License-Identifier: Apache-2.0
"""Make virtual environments beside this one, for packages that must not be installed in it.

The benchmark's peers and the converters use them. `underlay/` makes the environment that this
code runs in, before any package is installed.
"""

import hashlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from mask_detector_ros.errors import MaskDetectorError

_OF_THIS_ENVIRONMENT = (
    *("_ROS_WHEELS_BOOTSTRAP_COMPLETE", "LD_LIBRARY_PATH", "AMENT_PREFIX_PATH"),
    *("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PIP_USER"),
)
"""Variables through which this process's environment would leak into another one."""


class InstallError(MaskDetectorError):
    """Packages cannot be installed in a virtual environment; the message gives pip's reason."""


def clean_variables() -> dict[str, str]:
    """The environment variables of a child process in another virtual environment."""
    return {k: v for k, v in os.environ.items() if k not in _OF_THIS_ENVIRONMENT}


def python_of(home: Path) -> Path:
    """The Python interpreter of a virtual environment."""
    return home / "bin" / "python"


def is_current(stamp: Path, facts: Sequence[str]) -> bool:
    """Whether a virtual environment's `stamp` was written by `set_stamp` for these facts and this
    Python."""
    return stamp.is_file() and stamp.read_text(encoding="utf-8") == _fingerprint(facts)


def set_stamp(stamp: Path, facts: Sequence[str]) -> None:
    """Record what a virtual environment was made from, once it is complete."""
    stamp.write_text(_fingerprint(facts), encoding="utf-8")


def make(home: Path, *installs: Sequence[str]) -> None:
    """Recreate a virtual environment.

    Args:
        installs: the arguments of successive `pip install` calls.

    Raises:
        InstallError: the packages cannot be installed.
    """
    base = getattr(sys, "_base_executable", None) or sys.executable
    _run([base, "-m", "venv", "--clear", str(home)])
    for arguments in installs:
        install(home, *arguments)


def install(home: Path, *arguments: str, **variables: str) -> None:
    """Run `pip install` with these arguments and variables in a virtual environment.

    Raises:
        InstallError: the packages cannot be installed.
    """
    pip = [str(python_of(home)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*pip, *arguments], **variables)


def _fingerprint(facts: Sequence[str]) -> str:
    return hashlib.sha256("\n".join([sys.version, *facts]).encode()).hexdigest()


def _run(command: list[str], **variables: str) -> None:
    done = subprocess.run(
        command, env=clean_variables() | variables, capture_output=True, text=True, check=False
    )
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.lower().startswith("error:")]
        reason = errors[0][len("error:") :].strip() if errors else done.stderr.strip()[-200:]
        raise InstallError(f"cannot be installed: {reason or 'pip gave no reason'}")
