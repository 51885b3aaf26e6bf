# SPDX-License-Identifier: Apache-2.0
"""Inspect the surroundings of the set-up: ROS, Python, compiler, disk space."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from ctypes.util import find_library
from dataclasses import dataclass
from pathlib import Path

from environment.errors import SetupError

WHEELS = ("jazzy", "kilted")
"""The ROS distributions whose wheels are listed in `ros_wheels/`; the first is the default."""

WHEEL_PYTHONS = [(3, 10), (3, 11), (3, 12), (3, 13)]
WHEEL_MACHINE = "x86_64"
NO_WHEELS = "none"
NEEDED_DISK_BYTES = 2 * 1024**3
"""A finished environment takes 1.1 GB; pip needs additional space to unpack."""

OPENCV_HEADER = Path("/usr/include/opencv4/opencv2/imgcodecs.hpp")
CV_BRIDGE_PACKAGES = "libopencv-imgcodecs-dev libboost-python-dev"


@dataclass(frozen=True)
class Surroundings:
    """The surroundings of the set-up: the origin of ROS, and the interpreter to use.

    Attributes:
        ros_distro: name of the sourced ROS 2 distribution; None if none is sourced.
        ros_prefixes: the sourced ament prefixes, first match wins.
        python: the base interpreter, not one of a virtual environment.
        wheels: the distribution to install from Python wheels if none is sourced; `none` if there
            are none for this Python and machine, or with `ROS_WHEELS=none`.
    """

    ros_distro: str | None
    ros_prefixes: tuple[Path, ...]
    python: Path
    wheels: str

    @property
    def without_ros(self) -> bool:
        """Whether the surroundings call for a set-up without ROS."""
        return not self.ros_distro and self.wheels == NO_WHEELS

    def provides(self, package: str) -> bool:
        """Whether the sourced ROS in the surroundings has this ament package."""
        marker = Path("share/ament_index/resource_index/packages") / package
        return any((prefix / marker).exists() for prefix in self.ros_prefixes)


def inspect_machine(environ: Mapping[str, str], venv: Path) -> Surroundings:
    """Inspect the machine before the set-up: read environment variables, ignoring `venv` itself.

    Raises:
        SetupError: `ROS_WHEELS` is not a distribution with a list of wheels.
    """
    wheels = environ.get("ROS_WHEELS") or WHEELS[0]
    if wheels not in (*WHEELS, NO_WHEELS):
        choices = ", ".join((*WHEELS, NO_WHEELS))
        raise SetupError(f"ROS_WHEELS is {wheels!r}", f"set it to one of {choices}")
    if not wheels_exist(
        sys.version_info[:2], platform.python_implementation(), sys.platform, platform.machine()
    ):
        wheels = NO_WHEELS
    prefixes = [Path(p) for p in environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    distro = environ.get("ROS_DISTRO") or None
    return Surroundings(
        ros_distro=distro,
        ros_prefixes=tuple(p for p in prefixes if distro and p != venv),
        python=Path(getattr(sys, "_base_executable", None) or sys.executable),
        wheels=wheels,
    )


def check_all(here: Surroundings, venv: Path) -> None:
    """Check the surroundings: raise SetupError for the first obstacle to the set-up."""
    if here.ros_distro:
        check_sourced_ros(here)
    check_apt_packages(builds_messages=not here.without_ros)
    check_disk(venv)


def wheels_exist(python: tuple[int, int], implementation: str, system: str, machine: str) -> bool:
    """Whether there are ROS wheels for the surroundings, this Python and machine."""
    return (
        python in WHEEL_PYTHONS
        and implementation == "CPython"
        and system == "linux"
        and machine == WHEEL_MACHINE
    )


def check_sourced_ros(here: Surroundings) -> None:
    """Check the surroundings: raise SetupError unless the sourced ROS was built for this
    interpreter."""
    found = subprocess.run(
        [str(here.python), "-c", "import rclpy"], capture_output=True, check=False
    )
    if found.returncode != 0:
        raise SetupError(
            f"ROS_DISTRO is {here.ros_distro}, but {here.python} cannot import its rclpy",
            "source its setup.bash, give the Python it was built for "
            "('make setup PYTHON=/usr/bin/python3'), or unset ROS_DISTRO to use wheels",
        )


def check_apt_packages(builds_messages: bool = True) -> None:
    """Check the surroundings: raise SetupError with every apt package that a bare Debian or Ubuntu
    lacks.

    Args:
        builds_messages: whether headers and a compiler are needed.
    """
    missing = {}
    if not all(importlib.util.find_spec(module) for module in ("venv", "ensurepip")):
        missing["the modules venv and ensurepip"] = f"python{_python_version()}-venv"
    has_headers = (Path(sysconfig.get_path("include")) / "Python.h").exists()
    if builds_messages and not has_headers:
        missing["Python.h"] = f"python{_python_version()}-dev"
    if builds_messages and not (
        _has_compiler("CC", "cc", "gcc", "clang") and _has_compiler("CXX", "c++", "g++", "clang++")
    ):
        missing["a C++ compiler"] = "g++"
    if missing:
        raise SetupError(
            f"missing for {sys.executable}: {', '.join(missing)}",
            f"sudo apt-get install {' '.join(missing.values())}",
        )


def check_cv_bridge_packages() -> None:
    """Check the surroundings: raise SetupError naming the missing packages that cv_bridge is
    compiled with."""
    version = f"{sys.version_info[0]}{sys.version_info[1]}"
    if not find_library(f"boost_python{version}") or not OPENCV_HEADER.exists():
        raise SetupError(
            f"cv_bridge needs OpenCV's headers and Boost.Python of Python {_python_version()}",
            f"sudo apt-get install {CV_BRIDGE_PACKAGES}; Debian has it for its own Python:"
            " PYTHON=/usr/bin/python3",
        )


def check_disk(venv: Path) -> None:
    """Check the surroundings: raise SetupError if the disk has too little space for the
    environment."""
    free = shutil.disk_usage(venv.parent).free
    if free < NEEDED_DISK_BYTES and not (venv / "pyvenv.cfg").exists():
        raise SetupError(
            f"{free / 1024**3:.1f} GiB free in {venv.parent}, the environment needs "
            f"{NEEDED_DISK_BYTES / 1024**3:.0f}",
            "free some space and run 'make setup' again",
        )


def _python_version() -> str:
    return f"{sys.version_info[0]}.{sys.version_info[1]}"


def _has_compiler(variable: str, *names: str) -> bool:
    given = os.environ.get(variable, "").split()[:1]
    return any(shutil.which(name) for name in given or names)
