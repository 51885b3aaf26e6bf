# SPDX-License-Identifier: Apache-2.0
"""The environment that holds Triton's server: `make serve-env`.

The wheel nvidia-pytriton carries NVIDIA's `tritonserver` with its Python backend. Only these files
are used, none of the wheel's Python code. The backend misreads the arrays of NumPy 2, so the
environment has NumPy 1, which serves OpenCV and ONNX Runtime of this environment just as well.
"""

import ctypes.util
import platform
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from mask_detector_ros import virtual_environments
from mask_detector_ros.errors import BackendError
from mask_detector_ros.virtual_environments import InstallError

REQUIREMENTS = ("nvidia-pytriton==0.7.0", "numpy==1.26.4")
"""Triton 2.51, and the last NumPy 1."""

PYTHONS = ((3, 10), (3, 12))
"""First and last version of Python that both have wheels for."""

MACHINE = "x86_64"
"""The only kind of machine that Triton's wheel is built for."""

_REPOSITORY = Path(__file__).resolve().parents[2]
_IS_SOURCE_TREE = (_REPOSITORY / "Makefile").is_file()
ENVIRONMENT = (
    _REPOSITORY / ".venv" / "serve"
    if _IS_SOURCE_TREE
    else Path("~/.cache/mask_detector_ros/serve").expanduser()
)
MAKE = (
    "make serve-env"
    if _IS_SOURCE_TREE
    else "python3 -m mask_detector_ros.serving.triton_environment"
)
ELSEWHERE = "serve from another machine, or with mask-detector export triton in a container"
_STAMP = "requirements.sha256"


@dataclass(frozen=True)
class TritonFiles:
    """The places of Triton's files in its environment.

    Attributes:
        stub: the program that runs a model in a Python of this version.
        packages: folder with NumPy 1.
        python_library: folder of the running Python's `libpython`; empty if the system has it.
    """

    server: Path
    libraries: Path
    backend: Path
    stub: Path
    packages: Path
    python_library: str


def find_obstacle() -> str:
    """Why Triton cannot run on this machine, whatever its environment holds; empty if it can."""
    if sys.platform != "linux" or platform.machine() != MACHINE:
        return f"Triton's wheel is for Linux on {MACHINE}, this is {platform.machine()}"
    version = sys.version_info[:2]
    if not PYTHONS[0] <= version <= PYTHONS[1]:
        return f"Triton's Python backend with NumPy 1 has wheels up to Python 3.{PYTHONS[1][1]}"
    return ""


def is_ready(environment: Path = ENVIRONMENT) -> bool:
    """Whether Triton's environment is complete and made from the current requirements."""
    return virtual_environments.is_current(environment / _STAMP, REQUIREMENTS)


def make(environment: Path = ENVIRONMENT) -> None:
    """Make Triton's environment if it is missing or its requirements have changed.

    Raises:
        BackendError: this machine cannot run Triton, or the wheel cannot be installed.
    """
    if obstacle := find_obstacle():
        raise BackendError(f"{obstacle}; {ELSEWHERE}")
    if is_ready(environment):
        return
    print(f"making {environment} (75 MB to download)", flush=True)
    try:
        virtual_environments.make(environment, ["--no-deps", *REQUIREMENTS])
    except InstallError as error:
        raise BackendError(
            f"{REQUIREMENTS[0]} {error}; check the network and do again: {MAKE}"
        ) from error
    virtual_environments.set_stamp(environment / _STAMP, REQUIREMENTS)


def find_triton() -> TritonFiles:
    """Find the files of Triton in its environment.

    Raises:
        BackendError: the environment is missing or not up to date, or a library is missing.
    """
    if not is_ready():
        if obstacle := find_obstacle():
            raise BackendError(f"{obstacle}; {ELSEWHERE}")
        raise BackendError(f"Triton is not installed, or not up to date; do: {MAKE}")
    site = next(ENVIRONMENT.glob("lib/python*/site-packages"))
    triton = site / "pytriton" / "tritonserver"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return TritonFiles(
        server=triton / "bin" / "tritonserver",
        libraries=site / "nvidia_pytriton.libs",
        backend=triton / "backends" / "python",
        stub=triton / "python_backend_stubs" / version / "triton_python_backend_stub",
        packages=site,
        python_library=_find_python_library(version),
    )


def _find_python_library(version: str) -> str:
    """The folder of the running interpreter's library: another build of the same version lacks
    what its standard library expects (`_recursion_count`)."""
    folder = Path(sysconfig.get_config_var("LIBDIR") or "/")
    if any(folder.glob(f"libpython{version}.so*")):
        return str(folder)
    if ctypes.util.find_library(f"python{version}") is None:
        raise BackendError(
            f"Triton needs libpython{version}.so; do: sudo apt-get install libpython{version}"
        )
    return ""


def main() -> int:
    """Make the environment; return the exit code."""
    try:
        make()
    except (BackendError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
