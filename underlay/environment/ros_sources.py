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


def install_sources(
    repositories: Sequence[Repository],
    python: Path,
    folder: Path,
    run: Callable[[list[str | Path], str], None],
    build: Callable[[str, Path], None],
) -> None:
    """Fetch and install all ROS packages of the list from source.

    Args:
        python: interpreter of the environment to install into.
        folder: folder for the sources.
        run: runs a command; its second argument describes it.
        build: builds and installs an ament package of interfaces.
    """

    def pip(what: str, *arguments: str | Path) -> None:
        run([python, "-m", "pip", "install", *arguments], f"installing {what}")

    # A mirror for an unreachable host: a folder or URL with owner/name below it.
    host = os.environ.get("ROS_SOURCES_HOST", "https://github.com")
    pip("argcomplete and its like", *REQUIREMENTS)
    for name, commit, packages in repositories:
        root, what = folder / name.rpartition("/")[2], f"fetching {name}"
        run(["git", "init", "--quiet", root], what)
        run(["git", "-C", root, "fetch", "--depth=1", f"{host}/{name}", commit], what)
        run(["git", "-C", root, "checkout", "--quiet", "--force", "FETCH_HEAD"], what)
        for package in packages:
            if (root / package / "setup.py").is_file():
                options = ("--no-deps", "--no-build-isolation", "--force-reinstall")
                pip(package, *options, root / package)
            else:
                build(package, root / package)
