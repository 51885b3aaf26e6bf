# SPDX-License-Identifier: Apache-2.0
"""The engine cache: a file that does not fit is detected, and one process builds at a time."""

import os
import resource
import threading
from dataclasses import replace

import pytest
from stored_engines import KEY, PLAN

from mask_detector_ros.inference.tensorrt.builder import BuildCancelledError
from mask_detector_ros.inference.tensorrt.cache import (
    EngineCache,
    EngineMisfitError,
    default_folder,
)


def test_what_was_written_is_read(cache, stored):
    assert cache.read(KEY) == PLAN
    assert stored.name.startswith("fp16-")
    assert b"my model.onnx" in stored.read_bytes()


def test_the_same_network_by_another_name_has_the_same_engine(cache, stored):
    assert cache.read(replace(KEY, model="a copy of it.onnx")) == PLAN


def test_nothing_stored_is_no_misfit(cache):
    assert cache.read(KEY) is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sha256", "cd" * 32),
        ("flavour", "tensorrt_rtx"),
        ("version", "10.3.1"),
        ("gpu", "Orin Nano"),
        ("capability", "8.6"),
        ("precision", "fp32"),
        ("profile", {"x": ((1, 3), (8, 3), (64, 3))}),
    ],
)
def test_all_that_an_engine_depends_on_gives_it_another_file(cache, stored, field, value):
    other = replace(KEY, **{field: value})
    assert other.file_name != KEY.file_name
    assert cache.read(other) is None
    # And a file that was renamed says what it is for.
    os.rename(stored, cache.folder / other.file_name)
    with pytest.raises(EngineMisfitError, match=rf"was built for {field} .*, needed "):
        cache.read(other)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda content: b"", "not an engine of this package, or is cut off"),
        (lambda content: b"rubbish" * 100, "not an engine of this package"),
        (lambda content: content[:40], "or is cut off"),
        (lambda content: content[:-1], "is damaged"),
        (lambda content: content[:-1] + b"x", "is damaged"),
        (lambda content: content.replace(b'"format": 3', b'"format": 2'), "format 2, needed 3"),
    ],
)
def test_a_spoilt_file_is_found_out(cache, stored, spoil, reason):
    stored.write_bytes(spoil(stored.read_bytes()))
    with pytest.raises(EngineMisfitError, match=reason):
        cache.read(KEY)


def test_a_folder_in_the_place_of_a_file_is_found_out(cache):
    (cache.folder / KEY.file_name).mkdir(parents=True)
    with pytest.raises(EngineMisfitError, match="cannot be read"):
        cache.read(KEY)


def test_the_default_folder_is_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "mask_detector_ros" / "engines"
    # The specification has relative paths ignored.
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/me")
    assert str(default_folder()) == "/home/me/.cache/mask_detector_ros/engines"


def test_a_full_disk_leaves_the_old_state_and_one_warning(cache, caplog):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))  # as a disk with 100 bytes left
    try:
        with cache.lock(KEY):
            assert cache.write(KEY, PLAN * 100) is None
            assert cache.write(KEY, PLAN * 100) is None
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.suffix for path in cache.folder.iterdir()] == [".lock"]
    (record,) = caplog.records
    assert "they stay in memory" in record.getMessage()
    assert "engine_cache_dir" in record.getMessage()


def test_what_a_killed_writer_left_is_swept_up(cache, stored):
    left = cache.folder / f"{KEY.file_name}.12345.partial"
    left.write_bytes(b"half an eng")
    with cache.lock(KEY):
        assert not left.exists()
        assert cache.read(KEY) == PLAN


def test_one_builder_at_a_time(cache):
    inside, order = threading.Event(), []

    def second():
        with EngineCache(str(cache.folder)).lock(KEY):
            order.append("second")

    with cache.lock(KEY):
        thread = threading.Thread(target=second)
        thread.start()
        other = replace(KEY, precision="fp32")
        with EngineCache(str(cache.folder)).lock(other):  # another engine does not wait
            inside.wait(0.5)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_waiting_for_another_builder_can_be_given_up(cache):
    with (
        cache.lock(KEY),
        pytest.raises(BuildCancelledError),
        EngineCache(str(cache.folder)).lock(KEY, lambda: True),
    ):
        pass
