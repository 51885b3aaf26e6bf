# SPDX-License-Identifier: Apache-2.0
"""Fast DDS's shared memory: full, left behind, of another user, of another container."""

from __future__ import annotations

import fcntl
import os
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from waiting import wait_until

pytest.importorskip("rclpy", reason="needs ROS 2: run `make setup`")

from mask_detector_ros.ros.shared_memory import (
    avoid_full_shared_memory,
    remove_leftovers,
    shared_memory_hint,
)


def test_without_room_in_shared_memory_udp_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = {"FASTDDS_DEFAULT_PROFILES_FILE": "profile.xml"}
    status = SimpleNamespace(f_bavail=10, f_frsize=2**20)
    monkeypatch.setattr(os, "statvfs", lambda path: status)
    said = avoid_full_shared_memory(environment, tmp_path)
    assert said.startswith(f"{tmp_path} has 10 MB free and shared memory takes 72 MB: using UDP")
    assert environment == {"FASTDDS_BUILTIN_TRANSPORTS": "UDPv4"}
    status.f_bavail = 100
    assert avoid_full_shared_memory(environment, tmp_path) == ""


def test_what_killed_programs_left_in_shared_memory_is_removed(tmp_path: Path) -> None:
    living, killed, new = ("fastrtps_" + "a" * 16, "fastdds_" + "b" * 16, "fastrtps_" + "c" * 16)
    others = ["fastrtps_port7410", "fastrtps_port7410_el", "data_el"]
    kept = {living, new, f"{living}_el", f"{new}_el", *others}
    for name in (*kept, killed, f"{killed}_el"):
        (tmp_path / name).touch()
        if not name.startswith(new):
            os.utime(tmp_path / name, (0, 0))
    with (tmp_path / f"{living}_el").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert remove_leftovers(tmp_path) == 1
    assert {path.name for path in tmp_path.iterdir()} == kept


def test_only_a_killed_node_leaves_its_segment_unlocked(graph: Any) -> None:
    """What `remove_leftovers` relies on."""
    node = graph.start("mask_detector_node", autostart=False)
    maps = Path(f"/proc/{node.pid}/maps")
    pattern = r"/dev/shm/fast(?:rtps|dds)_[0-9a-f]{16}(?=\n)"
    wait_until(lambda: re.findall(pattern, maps.read_text()), what="shared memory")
    locks = [Path(f"{segment}_el") for segment in re.findall(pattern, maps.read_text())]
    assert not any(map(is_free, locks))
    node.kill()
    node.wait()
    assert all(map(is_free, locks))


def is_free(lock: Path) -> bool:
    """Whether no process holds the lock."""
    with lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def test_a_container_with_shared_memory_of_its_own_gets_a_hint(tmp_path: Path) -> None:
    assert shared_memory_hint(tmp_path) == ""
    (tmp_path / ".dockerenv").touch()
    assert "--ipc=host" in shared_memory_hint(tmp_path)


@pytest.mark.parametrize(
    ("name", "mode", "hinted"),
    [
        ("fastrtps_0123456789abcdef", 0o644, True),
        ("fastdds_0123456789abcdef", 0o644, True),
        ("fastdds_0123456789abcdef", 0o666, False),
        ("fastrtps_port7410", 0o644, False),
        ("sem.other", 0o644, False),
    ],
)
def test_a_segment_of_another_user_gives_a_hint(
    tmp_path: Path, name: str, mode: int, hinted: bool
) -> None:
    """Fast DDS then discovers the publisher and receives nothing, without a word."""
    (tmp_path / "dev/shm").mkdir(parents=True)
    (tmp_path / "dev/shm" / name).touch()
    (tmp_path / "dev/shm" / name).chmod(mode)
    assert shared_memory_hint(tmp_path) == ""
    hint = shared_memory_hint(tmp_path, os.geteuid() + 1)
    assert ("as one user" in hint) is hinted
