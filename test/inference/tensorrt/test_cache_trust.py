# SPDX-License-Identifier: Apache-2.0
"""Only engines that this user wrote, where only this user can write, are used."""

import hashlib
import json
import os

import pytest
from stored_engines import KEY, PLAN

from mask_detector_ros.inference.tensorrt.cache import HASH, EngineMisfitError
from mask_detector_ros.inference.tensorrt.trust import (
    create_own_file,
    keyed_hash,
    why_folder_is_not_ours,
)


def forge(stored):
    """Another plan with a matching plain hash, which anybody can write."""
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
        pytest.param(pipe, "is not a regular file", id="pipe"),
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
