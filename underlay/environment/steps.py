# SPDX-License-Identifier: Apache-2.0
"""Environment: the steps that make the virtual environment; each runs again only if its inputs
changed."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from environment import ros_sources
from environment.logged import run_logged
from environment.ros_sources import SOURCES, install_sources, read_sources
from environment.surroundings import Surroundings, check_cv_bridge_packages

UNDERLAY = Path(__file__).resolve().parent.parent
REPOSITORY = UNDERLAY.parent
EXTRAS = ("dev", "sample")
FULL_EXTRAS = (*EXTRAS, "test-full")
INTERFACE_PACKAGES = ("vision_msgs", "foxglove_msgs")
INSTALLED_DIRECTORIES = ("mask_detector_ros", "launch", "config", "models")


@dataclass(frozen=True)
class Step:
    """One step of the set-up; it runs again when its `fingerprint` changes."""

    name: str
    title: str
    fingerprint: str
    action: Callable[[], None]


class Environment:
    """A virtual environment with ROS, our messages and the tools of `make test`."""

    def __init__(self, venv: Path, here: Surroundings) -> None:
        self.venv = venv
        self.here = here
        self.python = venv / "bin" / "python"
        self.log = venv / "setup" / "log.txt"

    def steps(self, full: bool = False) -> list[Step]:
        """All steps that make the environment, in order.

        Args:
            full: whether to include the ROS packages without wheels and the extra `test-full`.
        """
        base = fingerprint(
            [str(self.venv), str(self.here.python), sys.version, self._ros()],
            [UNDERLAY / "environment" / "ros_workspace_prefix.py"],
        )
        ros = fingerprint(
            [base, *map(str, self.here.ros_prefixes)],
            self._wheel_lists(),
        )
        packages = fingerprint([ros, *self._own_packages()], [REPOSITORY / "pyproject.toml"])
        steps = [
            Step("venv", "virtual environment", base, self.make_venv),
            Step("packages", "Python packages", packages, self.install_packages),
        ]
        if self.here.without_ros:
            links = fingerprint([packages, str(REPOSITORY)], [])
            return [*steps, Step("links", "link to the sources", links, self.link_repository)]
        for name in INTERFACE_PACKAGES:
            if self.here.provides(name):
                continue
            ros = fingerprint([ros], [*files_below(UNDERLAY / name), UNDERLAY / "wheels.cmake"])
            steps.append(Step(name, name, ros, functools.partial(self.build_interfaces, name)))
        messages = fingerprint(
            [ros],
            [
                *files_below(REPOSITORY / "msg"),
                *files_below(REPOSITORY / "cmake"),
                REPOSITORY / "CMakeLists.txt",
                REPOSITORY / "package.xml",
            ],
        )
        installed = [f for name in INSTALLED_DIRECTORIES for f in files_below(REPOSITORY / name)]
        links = fingerprint([messages, *map(str, installed)], [])
        steps += [
            Step("messages", "mask_detector_ros messages", messages, self.build_messages),
            Step("links", "links to the sources", links, self.link_sources),
        ]
        if full:
            files = files_below(UNDERLAY / "cv_bridge")
            tools = fingerprint([base], [SOURCES, Path(ros_sources.__file__), *files])
            install = functools.partial(self.install_packages, FULL_EXTRAS)
            steps += [
                Step("full_packages", "packages of all tests (5 GB)", packages, install),
                Step("ros_tools", "ros2 launch and its like", tools, self.add_ros_tools),
            ]
        return steps

    def make_venv(self) -> None:
        """Step: make an empty environment, without remains of another Python or ROS."""
        for name in ("bin", "lib", "lib64", "include", "share", "build", "pyvenv.cfg"):
            remove(self.venv / name)
        options = ["--system-site-packages"] if self.here.ros_distro else []
        self.run([self.here.python, "-m", "venv", *options, self.venv], "making .venv")
        site_packages = self._site_packages()
        name = "ros_workspace_prefix"
        shutil.copy(UNDERLAY / "environment" / f"{name}.py", site_packages)
        # Read in alphabetical order: after the wheels' own start-up hook, which it completes.
        (site_packages / f"{name}.pth").write_text(f"import {name}\n", encoding="utf-8")

    def install_packages(self, extras: Sequence[str] = EXTRAS) -> None:
        """Step: install the ROS wheels, or with a sourced ROS only the packages that it lacks."""
        reader = UNDERLAY / "environment" / "project_requirements.py"
        listing = subprocess.run(
            [self.python, reader, REPOSITORY / "pyproject.toml", *extras],
            env=self.environ(),
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        wanted = [w for w in listing.stdout.splitlines() if not self._ros_brings(w)]
        wheels = [word for file in self._wheel_lists()[:1] for word in ("-r", file)]
        self.run(
            [self.python, "-m", "pip", "install", *wheels, *wanted, *self._own_packages()],
            "installing the Python packages",
        )

    def build_interfaces(self, name: str) -> None:
        """Step: build and install the interfaces of a package that ROS does not provide here."""
        self.build(name, UNDERLAY / name)
        self.install(name)

    def add_ros_tools(self) -> None:
        """Step: install the ROS packages without wheels."""
        check_cv_bridge_packages()

        def build(name: str, source: Path) -> None:
            ours = UNDERLAY / name
            if ours.is_dir():
                self.build(name, ours, f"-DSOURCES={source}")
            else:
                self.build(name, source)
            self.install(name)

        install_sources(read_sources(), self.python, self.venv / "sources", self.run, build)

    def build_messages(self) -> None:
        """Step: build our own messages; they are installed together with the sources."""
        self.build("mask_detector_ros", REPOSITORY, "-DAMENT_CMAKE_SYMLINK_INSTALL=ON")

    def link_sources(self) -> None:
        """Step: link messages and sources into the environment, so that edits take effect at
        once."""
        self.install("mask_detector_ros")
        for root in (self._site_packages(), self.venv / "share"):
            for link in (root / "mask_detector_ros").rglob("*"):
                if link.is_symlink() and not link.exists():
                    link.unlink()

    def link_repository(self) -> None:
        """Step: let the environment's Python find the package in the source tree."""
        path = self._site_packages() / "mask_detector_ros_sources.pth"
        path.write_text(f"{REPOSITORY}\n", encoding="utf-8")

    def build(self, name: str, source: Path, *options: str) -> None:
        """Build the ament package in `source`, as a step."""
        build = self._build_directory(name)
        remove(build)
        cmake = self._cmake()
        if shutil.which("ninja", path=self.environ()["PATH"]):
            options = ("-GNinja", *options)
        if not self.here.ros_distro:
            options = (f"-DCMAKE_PROJECT_INCLUDE={UNDERLAY / 'wheels.cmake'}", *options)
        configure = [
            *(cmake, "-S", source, "-B", build, "-DBUILD_TESTING=OFF"),
            f"-DCMAKE_INSTALL_PREFIX={self.venv}",
            f"-DPython3_EXECUTABLE={self.python}",
            *options,
        ]
        self.run(configure, f"configuring {name}")
        self.run([cmake, "--build", build], f"building {name}")

    def install(self, name: str) -> None:
        """Install a built package into the environment, as a step."""
        build = self._build_directory(name)
        self.run([self._cmake(), "--build", build, "--target", "install"], f"installing {name}")

    def run(self, command: list[str | Path], what: str) -> None:
        """Run a command of a step in the environment, logging its output."""
        run_logged(command, what, self.log, self.environ())

    def environ(self) -> dict[str, str]:
        """Environment variables for the child processes of a step: the user's, with this
        environment first."""
        environ = dict(os.environ)
        # These belong to the environment that started this process.
        for name in ("_ROS_WHEELS_BOOTSTRAP_COMPLETE", "PYTHONHOME", "VIRTUAL_ENV", "PIP_USER"):
            environ.pop(name, None)
        prefixes = [self.venv, *self.here.ros_prefixes]
        environ["AMENT_PREFIX_PATH"] = os.pathsep.join(map(str, prefixes))
        if self.here.ros_distro:
            others = os.environ.get("CMAKE_PREFIX_PATH", "").split(os.pathsep)
            prefixes += [Path(p) for p in others if p]
        else:
            environ.pop("LD_LIBRARY_PATH", None)
            environ.pop("PYTHONPATH", None)
        environ["CMAKE_PREFIX_PATH"] = os.pathsep.join(map(str, prefixes))
        environ["PATH"] = os.pathsep.join([str(self.venv / "bin"), os.environ.get("PATH", "")])
        return environ

    def _ros(self) -> str:
        """The origin of ROS; a change requires a new environment."""
        return f"sourced {self.here.ros_distro}" if self.here.ros_distro else self.here.wheels

    def _wheel_lists(self) -> list[Path]:
        """The requirements of the ROS wheels: the list to install, and the one it includes."""
        if self.here.ros_distro or self.here.without_ros:
            return []
        folder = UNDERLAY / "ros_wheels"
        return [folder / f"{self.here.wheels}.txt", folder / "build_tools.txt"]

    def _own_packages(self) -> list[str]:
        """Requirements that apply only with a sourced ROS."""
        if not self.here.ros_distro:
            return []
        extra = [] if shutil.which("cmake") else ["cmake>=3.22,<4"]
        if not importlib.util.find_spec("setuptools"):  # ament writes egg-info through it
            extra.append("setuptools>=64")
        # ROS packages compiled against NumPy 1, cv_bridge among them, cannot load NumPy 2.
        if _installed_version("numpy").startswith("1."):
            extra.append("numpy<2")
        return extra

    def _ros_brings(self, requirement: str) -> bool:
        """Whether ROS brings a requirement; apt's cv2 has no metadata for pip."""
        own_cv2 = self.here.ros_distro and importlib.util.find_spec("cv2")
        return bool(own_cv2) and requirement.startswith("opencv-python")

    def _build_directory(self, name: str) -> Path:
        return self.venv / "build" / name

    def _cmake(self) -> str:
        return shutil.which("cmake", path=self.environ()["PATH"]) or "cmake"

    def _site_packages(self) -> Path:
        version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
        return self.venv / "lib" / version / "site-packages"


def fingerprint(texts: Iterable[str], files: Iterable[Path]) -> str:
    """A step's fingerprint: a hash over texts and the contents of files, in their order."""
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.encode() + b"\0")
    for file in files:
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


def files_below(directory: Path) -> list[Path]:
    """The files that a step installs from this directory, sorted."""
    return sorted(
        path
        for path in directory.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc"
    )


def remove(path: Path) -> None:
    """Remove a file, a link or a whole directory of a step if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _installed_version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
