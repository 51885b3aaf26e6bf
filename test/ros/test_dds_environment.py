# SPDX-License-Identifier: Apache-2.0
"""The environment for large images: the variable that the installed Fast DDS reads."""

from __future__ import annotations

from pathlib import Path

import pytest
from ros_graph import Graph

from mask_detector_ros.ros.dds_environment import image_environment

SEGMENT = 64 * 2**20
"""Bytes of the shared-memory segment in config/shared_memory.xml."""


@pytest.mark.parametrize(
    ("library", "variable"),
    [
        ("libfastrtps.so.2.14", "FASTRTPS_DEFAULT_PROFILES_FILE"),
        ("libfastdds.so.3.2", "FASTDDS_DEFAULT_PROFILES_FILE"),
        ("librmw_cyclonedds_cpp.so", "FASTDDS_DEFAULT_PROFILES_FILE"),
    ],
)
def test_the_installed_fast_dds_decides_the_variable(
    library: str, variable: str, tmp_path: Path
) -> None:
    (tmp_path / "ros" / "lib").mkdir(parents=True)
    (tmp_path / "ros" / "lib" / library).touch()
    environment = {"AMENT_PREFIX_PATH": f"{tmp_path / 'workspace'}:{tmp_path / 'ros'}"}
    assert image_environment(tmp_path, environment)[variable] == f"{tmp_path}/shared_memory.xml"


def test_a_value_of_the_user_stays(tmp_path: Path) -> None:
    given = {"FASTDDS_DEFAULT_PROFILES_FILE": "mine.xml", "MALLOC_TRIM_THRESHOLD_": "1"}
    assert set(image_environment(tmp_path, given)) == {"MALLOC_MMAP_THRESHOLD_"}


@pytest.mark.graph
def test_a_node_has_the_large_segment_of_the_profile(graph: Graph) -> None:
    """Without the profile the segment has 512 kB, and an image takes ten milliseconds more."""
    detector = graph.start("mask_detector_node", threads=1)
    graph.wait_for_output(detector, "subscribed to /image_raw")
    assert max(shared_memory_sizes(detector.pid)) >= SEGMENT


def shared_memory_sizes(process: int) -> list[int]:
    """Sizes in bytes of the Fast DDS segments that a process has mapped."""
    lines = Path(f"/proc/{process}/maps").read_text().splitlines()
    ranges = [line.split()[0].split("-") for line in lines if "/dev/shm/fast" in line]
    return [int(end, 16) - int(start, 16) for start, end in ranges]
