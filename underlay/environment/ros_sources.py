# SPDX-License-Identifier: Apache-2.0
"""Install ROS packages without wheels from their public sources, for `make test-full`."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

SOURCES = Path(__file__).resolve().parents[1] / "ros_sources.txt"
"""The list of repositories, one per line."""

REQUIREMENTS = (
    "argcomplete",
    "importlib-metadata",
    "osrf-pycommon",
    "packaging",
    "psutil",
    "wheel",
)
"""Python packages that they import, and that build them."""


class Repository(NamedTuple):
    """A ROS repository at a commit.

    Attributes:
        name: owner and name on the host.
        commit: the full hash.
        packages: its folders to install, in this order.
    """

    name: str
    commit: str
    packages: tuple[str, ...]


def read_sources() -> list[Repository]:
    """Read the list of ROS source repositories; lines with # are comments."""
    lines = [line.split() for line in SOURCES.read_text(encoding="utf-8").splitlines()]
    return [Repository(n, c, tuple(p)) for n, c, *p in filter(None, lines) if n != "#"]


class RosSources:
    """Fetches and installs ROS packages from source.

    Args:
        python: interpreter of the environment to install into.
        folder: folder for the sources.
        run: runs a command; its second argument describes it.
        build: builds and installs an ament package of interfaces.
    """

    def __init__(
        self,
        python: Path,
        folder: Path,
        run: Callable[[list[str | Path], str], None],
        build: Callable[[str, Path], None],
    ) -> None:
        self._python, self._folder, self._run, self._build = python, folder, run, build
        # A mirror for an unreachable host: a folder or URL with owner/name below it.
        self._host = os.environ.get("ROS_SOURCES_HOST", "https://github.com")

    def install(self, repositories: Sequence[Repository]) -> None:
        """Fetch and install all ROS packages of the list from source."""
        self._pip("argcomplete and its like", *REQUIREMENTS)
        for repository in repositories:
            root = self._fetch(repository)
            for package in repository.packages:
                if (root / package / "setup.py").is_file():
                    options = ("--no-deps", "--no-build-isolation", "--force-reinstall")
                    self._pip(package, *options, root / package)
                else:
                    self._build(package, root / package)

    def _fetch(self, repository: Repository) -> Path:
        root = self._folder / repository.name.rpartition("/")[2]
        url = f"{self._host}/{repository.name}"
        what = f"fetching {repository.name}"
        self._run(["git", "init", "--quiet", root], what)
        self._run(["git", "-C", root, "fetch", "--depth=1", url, repository.commit], what)
        self._run(["git", "-C", root, "checkout", "--quiet", "--force", "FETCH_HEAD"], what)
        return root

    def _pip(self, what: str, *arguments: str | Path) -> None:
        self._run([self._python, "-m", "pip", "install", *arguments], f"installing {what}")
