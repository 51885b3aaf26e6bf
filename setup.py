"""Metadata is in pyproject.toml; here is only what it cannot say: where shared files go."""

from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent


def shared(directory: str) -> tuple[str, list[str]]:
    """The files of a source directory, for share/mask_detector_ros/<directory>."""
    files = sorted(p for p in (ROOT / directory).glob("*") if p.is_file())
    return f"share/mask_detector_ros/{directory}", [str(p.relative_to(ROOT)) for p in files]


# The interface files are what bags are written with where there is no ROS.
FOLDERS = ("models", "config", "msg", "underlay/vision_msgs/msg")
setup(data_files=[shared(folder) for folder in FOLDERS])
