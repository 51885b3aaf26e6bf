# SPDX-License-Identifier: Apache-2.0
"""The bound on a frame's cost, whatever it shows."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.adversarial_images import KINDS, adversarial
from mask_detector_ros.imaging.boxes import merge_boxes
from mask_detector_ros.models import find_detector
from mask_detector_ros.mtcnn.detection_settings import DetectionSettings
from mask_detector_ros.mtcnn.loading import load_cascade
from mask_detector_ros.mtcnn.three_stage_cascade import SUPPRESSION_BUDGET
from mask_detector_ros.parameters import DETECTOR_PARAMETERS

SETTINGS = DetectionSettings(
    min_face_size=20, pyramid_factor=0.709, detection_thresholds=(0.6, 0.7, 0.7), max_faces=0
)
EVERYTHING = replace(SETTINGS, detection_thresholds=(0.0, 0.0, 0.0))


class CountedRuns:
    """Counts the crops that a stage is given, and the pixels of its largest call."""

    def __init__(self, session, monkeypatch):
        self.crops = self.largest = 0
        run = session.run

        def counted(images):
            self.crops += len(images)
            self.largest = max(self.largest, images.size)
            return run(images=images)

        monkeypatch.setattr(session, "run", counted)


@pytest.fixture
def counted(cascade, monkeypatch):
    return [CountedRuns(s, monkeypatch) for s in (cascade.pnet, cascade.rnet, cascade.onet)]


@settings(max_examples=25)
@given(
    st.sampled_from(KINDS), st.integers(1, 400), st.integers(1, 600), st.integers(1, 40), st.data()
)
def test_no_image_has_more_crops_examined(cascade, kind, height, width, side, data):
    limit = data.draw(st.sampled_from([10, 50, 500]))
    with pytest.MonkeyPatch.context() as patch:
        stages = [CountedRuns(s, patch) for s in (cascade.rnet, cascade.onet)]
        image = adversarial(kind, height, width, side)
        thresholds = data.draw(st.sampled_from([SETTINGS, EVERYTHING]))
        faces = cascade(image, replace(thresholds, max_candidates=limit))
    assert all(stage.crops <= limit for stage in stages)
    assert len(faces) <= limit
    assert np.isfinite(faces.boxes).all()


@pytest.fixture(scope="module")
def two_stage():
    return load_cascade(find_detector("mtcnn_two_stage"), threads=1)


@settings(max_examples=15)
@given(
    st.sampled_from(KINDS), st.integers(1, 400), st.integers(1, 600), st.integers(1, 40), st.data()
)
def test_no_image_has_more_crops_decided(two_stage, kind, height, width, side, data):
    limit = data.draw(st.sampled_from([10, 50, 500]))
    crops = 0
    decide = two_stage.sessions[1].run

    def counted(**arrays):
        nonlocal crops
        crops += len(arrays["crops"])
        return decide(**arrays)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(two_stage.sessions[1], "run", counted)
        thresholds = data.draw(st.sampled_from([SETTINGS, EVERYTHING]))
        image = adversarial(kind, height, width, side)
        faces = two_stage(image, replace(thresholds, max_candidates=limit))
    assert crops <= limit
    assert len(faces) <= limit
    assert np.isfinite(faces.boxes).all()
    if two_stage.overrun is not None:
        assert two_stage.overrun.kept <= limit < two_stage.overrun.found + limit


def test_a_frame_over_budget_says_so_and_keeps_the_best(cascade, astronaut, counted):
    usual = cascade(astronaut, SETTINGS)
    assert cascade.overrun is None
    faces = cascade(astronaut, replace(EVERYTHING, detection_thresholds=(0.0, 0.7, 0.7)))
    overrun = cascade.overrun
    assert overrun.kept == SETTINGS.max_candidates < overrun.found
    text = f"frame over budget: kept {overrun.kept:,} of {overrun.found:,} candidates"
    assert str(overrun) == text
    np.testing.assert_allclose(faces.boxes[0], usual.boxes[0], atol=20)
    cascade(astronaut, SETTINGS)
    assert cascade.overrun is None


def test_near_search_has_the_same_budget(cascade, astronaut, counted):
    near = np.tile(np.float32([[177, 66, 273, 179]]), (1000, 1))
    faces = cascade(astronaut, SETTINGS, near)
    assert len(faces) >= 1
    assert counted[1].crops <= SETTINGS.max_candidates


@pytest.mark.parametrize("shape", [(20, 300_000), (300_000, 20)])
def test_a_long_image_is_seen_in_small_parts(cascade, counted, shape):
    image = np.full((*shape, 3), 90, np.uint8)
    tracemalloc.start()
    try:
        cascade(image, SETTINGS)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert counted[0].largest <= 3 * 150_000
    # Of NumPy's arrays; the image itself is 18 MB.
    assert peak < 4 * image.nbytes


def test_faces_are_found_across_the_edges_of_tiles(cascade, astronaut):
    """Given one row of heads, wider than a tile."""
    head = astronaut[20:276, 96:352]
    row = np.hstack([head] * 24)
    small = replace(SETTINGS, min_face_size=24)
    assert len(cascade(row, replace(small, max_faces=0))) >= 24


def test_merging_boxes_takes_no_matrix_of_all_pairs():
    count = 4000
    corners = np.random.default_rng(0).uniform(0, 1e5, (count, 2)).astype(np.float32)
    boxes = np.hstack([corners, corners + 10])
    scores = np.linspace(0, 1, count, dtype=np.float32)
    tracemalloc.start()
    try:
        merged = merge_boxes(boxes, scores + 0.1, 0.6)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(merged) > count * 0.99
    assert peak < 20 * 2**20
    assert SUPPRESSION_BUDGET * SETTINGS.max_candidates < count


def test_the_most_expensive_parameters_are_bounded_too(two_stage):
    """Live parameters may be set by any peer: the tables' maxima are the last bound."""
    maximum = {p.name: p.limits[1] for p in DETECTOR_PARAMETERS if p.limits}
    dearest = replace(
        EVERYTHING,
        min_face_size=next(p.limits[0] for p in DETECTOR_PARAMETERS if p.name == "min_face_size"),
        max_candidates=maximum["max_candidates"],
    )
    image = adversarial("noise", 480, 640)
    tracemalloc.start()
    faces = two_stage(image, dearest)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(faces) <= 2000
    assert peak < 400 * 2**20
