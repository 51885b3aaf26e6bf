# SPDX-License-Identifier: Apache-2.0
"""Engines on disk: a file that does not fit in any way is found out, said and rebuilt."""

import hashlib
import json
import os
import resource
import threading
from dataclasses import replace

import numpy as np
import pytest
from gpu_stand_in import network

from mask_detector_ros.errors import ModelError
from mask_detector_ros.inference import create_session
from mask_detector_ros.inference.base import EngineOptions
from mask_detector_ros.inference.tensorrt.builder import BuildCancelledError
from mask_detector_ros.inference.tensorrt.cache import (
    HASH,
    EngineCache,
    EngineKey,
    EngineMisfitError,
    _signed,
    default_folder,
)
from mask_detector_ros.inference.tensorrt.trust import (
    create_own_file,
    keyed_hash,
    why_folder_is_not_ours,
)

KEY = EngineKey(
    model="my model.onnx",
    sha256="ab" * 32,
    flavour="tensorrt",
    version="10.3.0",
    gpu="Orin",
    capability="8.7",
    precision="fp16",
    profile={"x": ((1, 3), (8, 3), (128, 3))},
)
PLAN = b"a plan\nof several lines\0"


@pytest.fixture
def cache(tmp_path):
    return EngineCache(str(tmp_path / "engines"))


@pytest.fixture
def stored(cache):
    with cache.lock(KEY):
        return cache.write(KEY, PLAN)


def open_session(folder, precision="fp32", model=None):
    options = EngineOptions(precision=precision, engine_cache_dir=str(folder))
    session = create_session(model or network(), "scale", "tensorrt", 1, options)
    x = np.ones((3, 3), np.float32)
    np.testing.assert_allclose(session.run(x=x)["y"], x * 0.25 / 255 + np.arange(3), rtol=1e-6)
    return session


# The files


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
        (lambda content: b"", "no engine of this package, or it is cut off"),
        (lambda content: b"rubbish" * 100, "no engine of this package"),
        (lambda content: content[:40], "or it is cut off"),
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


# Trust


def forge(stored):
    """Another plan with a plain hash of its own, as anybody can write it."""
    magic, line, plan = stored.read_bytes().split(b"\n", 2)
    header = json.loads(line)
    header[HASH] = hashlib.sha256(plan + b"evil").hexdigest()
    stored.write_bytes(b"\n".join([magic, json.dumps(header).encode(), plan + b"evil"]))


def move_and_link(stored):
    stored.rename(stored.with_suffix(".elsewhere"))
    stored.symlink_to(stored.with_suffix(".elsewhere"))


def pipe(stored):
    stored.unlink()
    os.mkfifo(stored)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        pytest.param(forge, "written by another user", id="a hash of its own"),
        pytest.param(lambda f: f.chmod(0o666), "can be written by everybody", id="file"),
        pytest.param(lambda f: f.parent.chmod(0o777), "can be written by everybody", id="folder"),
        pytest.param(move_and_link, "cannot be read", id="link"),
        pytest.param(pipe, "is no regular file", id="pipe"),
    ],
)
def test_an_engine_that_others_could_write_is_not_used(cache, stored, spoil, reason):
    spoil(stored)
    with pytest.raises(EngineMisfitError, match=reason):
        cache.read(KEY)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize("which", ["file", "folder"])
def test_an_engine_of_another_owner_is_not_used(cache, stored, which):
    os.chown(stored if which == "file" else stored.parent, 12345, 12345)
    with pytest.raises(EngineMisfitError, match="belongs to user 12345"):
        cache.read(KEY)


def test_an_engine_with_another_users_key_is_not_used(cache, stored, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other user"))
    with pytest.raises(EngineMisfitError, match="written by another user"):
        cache.read(KEY)


def test_the_key_is_for_its_user_alone(cache, stored, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "new"))
    keyed_hash(b"")
    key = tmp_path / "new" / "mask_detector_ros" / "engine.key"
    assert key.stat().st_mode & 0o777 == 0o600
    assert len(key.read_bytes()) == 32


def test_nothing_is_stored_through_a_link_or_into_an_open_folder(cache, tmp_path, caplog):
    real = tmp_path / "real"
    real.mkdir()
    cache.folder.symlink_to(real)
    with cache.lock(KEY):
        assert cache.write(KEY, PLAN) is None
    assert "is a symbolic link" in caplog.text
    assert list(real.iterdir()) == []
    real.chmod(0o777)
    assert why_folder_is_not_ours(real) == "can be written by everybody"


def test_a_file_in_the_place_of_a_partial_one_is_not_written_through(cache, stored, tmp_path):
    """Given every name that a partial file could have is not to be guessed, and links go."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    with pytest.raises(FileExistsError):
        create_own_file(victim, b"engine")
    stored.unlink()
    stored.symlink_to(victim)
    with cache.lock(KEY):
        cache.write(KEY, PLAN)
    assert victim.read_text() == "precious"
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


# With TensorRT


def test_a_stored_engine_is_used_again(any_gpu, tmp_path):
    open_session(tmp_path)
    open_session(tmp_path)
    assert any_gpu.builds == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda path: path.write_bytes(b"rubbish"), "no engine of this package"),
        (lambda path: path.write_bytes(path.read_bytes()[:-9]), "is damaged"),
        (lambda path: _replace_plan(path, b"rubbish"), "does not take the engine of scale"),
        (lambda path: _replace_plan(path, _plan(network(0.9))), "differs from the CPU"),
        (lambda path: _replace_plan(path, _plan(network(width=4))), "takes x float32 (-1, 4)"),
    ],
    ids=["rubbish", "cut off", "refused by TensorRT", "of another network", "of another shape"],
)
def test_a_file_that_cannot_serve_is_rebuilt_and_the_reason_logged(
    gpu, tmp_path, caplog, change, reason
):
    caplog.set_level("INFO")
    open_session(tmp_path)
    caplog.clear()
    change(next(tmp_path.glob("*.engine")))
    builds = gpu.builds
    open_session(tmp_path)
    assert gpu.builds == builds + 1
    line = next(r.getMessage() for r in caplog.records if "building the engine" in r.getMessage())
    assert reason in line
    open_session(tmp_path)
    assert gpu.builds == builds + 1


def test_another_gpu_or_tensorrt_gets_an_engine_of_its_own(bare_gpu, tmp_path):
    for builds, (version, name) in enumerate(
        [("10.3.0", "Orin"), ("10.13.3", "Orin"), ("10.13.3", "Thor"), ("rtx-1.7.1", "Thor")]
    ):
        bare_gpu.set(gpu=name)
        bare_gpu.install(version)
        open_session(tmp_path)
        assert bare_gpu.builds == builds + 1
    bare_gpu.set(gpu="Orin")
    bare_gpu.install("10.3.0")
    open_session(tmp_path)
    assert bare_gpu.builds == 4


def test_an_engine_that_fails_the_comparison_is_not_stored(gpu, tmp_path):
    gpu.set(run_fault="nan")
    with pytest.raises(ModelError, match="no numbers"):
        open_session(tmp_path)
    gpu.set(run_fault="wrong")
    with pytest.raises(ModelError, match="differs from the CPU"):
        open_session(tmp_path)
    assert list(tmp_path.glob("*.engine")) == []


def test_a_stored_engine_that_gives_no_numbers_is_rebuilt(gpu, tmp_path, caplog):
    caplog.set_level("INFO")
    open_session(tmp_path)
    gpu.set(run_fault="nan")
    with pytest.raises(ModelError, match="no numbers"):
        open_session(tmp_path)
    assert gpu.builds == 2
    assert "building the engine of scale (fp32): scale on Orin" in caplog.text


def test_a_folder_that_cannot_be_written_is_a_warning_and_the_engine_stays_in_memory(
    gpu, tmp_path, caplog
):
    file = tmp_path / "file"
    file.write_text("no folder")
    open_session(file / "engines")
    assert "they stay in memory and are built again" in caplog.text
    open_session(file / "engines")
    assert gpu.builds == 2


def _replace_plan(path, plan):
    """The same file with another plan and its hash: as if TensorRT had written that."""
    magic, line, _ = path.read_bytes().split(b"\n", 2)
    header = json.loads(line)
    del header[HASH]
    header = {**header, HASH: keyed_hash(_signed(header, plan))}
    path.write_bytes(b"\n".join([magic, json.dumps(header).encode(), plan]))


def _plan(model):
    """What the stand-in builds from a network."""
    from mask_detector_ros.inference.tensorrt.builder import BuildRequest, build_in_process

    width = 4 if model == network(width=4) else 3
    profile = {"x": ((1, width), (8, width), (128, width))}
    return build_in_process(BuildRequest("other", False, profile), model)
