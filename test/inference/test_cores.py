# SPDX-License-Identifier: Apache-2.0
"""The cores of a process, read from the kernel's files."""

import os

import pytest

from mask_detector_ros.inference import cores


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine with four cores of two threads each, all available to this process."""
    for cpu in range(8):
        topology = tmp_path / f"cpu{cpu}" / "topology"
        topology.mkdir(parents=True)
        (topology / "thread_siblings_list").write_text(f"{cpu % 4},{cpu % 4 + 4}\n")
    monkeypatch.setattr(cores, "_PROCESSORS", tmp_path)
    monkeypatch.setattr(cores, "_QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    return tmp_path


def test_two_threads_of_a_core_are_one_core(machine):
    assert cores.usable_cores() == 4


@pytest.mark.parametrize(("allowed", "expected"), [({0}, 1), ({0, 4}, 1), ({0, 5, 6}, 3)])
def test_only_those_count_that_the_process_may_run_on(machine, monkeypatch, allowed, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: allowed)
    assert cores.usable_cores() == expected


@pytest.mark.parametrize(
    ("quota", "expected"),
    [
        ("max 100000", 4),
        ("200000 100000", 2),
        ("150000 100000", 2),
        ("5000 100000", 1),
        ("0 100000", 1),
        ("1600000 100000", 4),
        ("", 4),
        ("200000 0", 4),
        ("nonsense here", 4),
    ],
)
def test_a_container_has_its_share(machine, quota, expected):
    (machine / "cpu.max").write_text(quota + "\n")
    assert cores.usable_cores() == expected


def test_without_a_word_about_cores_every_processor_is_one(machine, monkeypatch):
    monkeypatch.setattr(cores, "_PROCESSORS", machine / "nowhere")
    assert cores.usable_cores() == 8


def test_the_fastest_come_first_and_no_core_twice(machine):
    for processor in range(8):
        folder = machine / f"cpu{processor}" / "cpufreq"
        folder.mkdir()
        # Two fast cores, 2 and 3, with threads 2, 6 and 3, 7.
        clock = 3000000 if processor % 4 >= 2 else 1800000
        (folder / "cpuinfo_max_freq").write_text(f"{clock}\n")
    assert len(cores.fastest_processors(1) & {2, 3, 6, 7}) == 1
    chosen = [cores.fastest_processors(count) for count in range(1, 10)]
    assert {processor % 4 for processor in chosen[1]} == {2, 3}
    assert {processor % 4 for processor in chosen[3]} == {0, 1, 2, 3}
    assert [len(processors) for processors in chosen] == [1, 2, 3, 4, 5, 6, 7, 8, 8]


def test_where_nothing_is_known_of_clocks_any_serve(machine):
    assert {processor % 4 for processor in cores.fastest_processors(4)} == {0, 1, 2, 3}
