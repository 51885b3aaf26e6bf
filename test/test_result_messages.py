# SPDX-License-Identifier: Apache-2.0
"""The messages of faces contain every number of the faces."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("vision_msgs.msg", reason="needs vision_msgs")
pytest.importorskip("mask_detector_ros.msg", reason="needs this package's messages built")

from std_msgs.msg import Header

from mask_detector_ros.faces import NO_LABEL, Faces
from mask_detector_ros.result_messages import LATENCY_PARTS
from mask_detector_ros.ros.messages import RESULTS

LABELS = ("with_mask", "without_mask", "mask_worn_incorrectly")
HEADER = Header(frame_id="camera")
HEADER.stamp.sec, HEADER.stamp.nanosec = 12, 345678901


def two_faces(**changes) -> Faces:
    values = {
        "boxes": [[10, 20, 50, 80], [100.5, 7, 130.5, 47]],
        "scores": [0.99, 0.75],
        "landmarks": np.arange(20).reshape(2, 5, 2),
        "probabilities": [[0.125, 0.75, 0.125], [0.5, 0.125, 0.375]],
        "label_names": LABELS,
    }
    return Faces(**{**values, **changes})


def hypotheses(detection) -> list[tuple[str, float]]:
    return [(r.hypothesis.class_id, r.hypothesis.score) for r in detection.results]


def test_the_header_stands_in_the_array_and_in_every_detection():
    array = RESULTS.detections(two_faces(), HEADER)
    assert [array.header, *(d.header for d in array.detections)] == [HEADER] * 3


def test_boxes_are_center_and_size_in_source_pixels():
    first, second = (d.bbox for d in RESULTS.detections(two_faces(), HEADER).detections)
    assert (first.center.position.x, first.center.position.y) == (30, 50)
    assert (first.size_x, first.size_y, first.center.theta) == (40, 60, 0)
    assert (second.center.position.x, second.size_x) == (115.5, 30)


def test_the_best_label_comes_first_and_the_others_in_falling_order():
    first, second = RESULTS.detections(two_faces(), HEADER).detections
    assert hypotheses(first)[0] == ("without_mask", 0.75)
    assert hypotheses(second) == [
        ("with_mask", 0.5),
        ("mask_worn_incorrectly", 0.375),
        ("without_mask", 0.125),
    ]


def test_the_label_of_a_tracker_comes_first_even_when_another_is_more_probable():
    faces = two_faces(label_ids=[1, 2], track_ids=[7, 12])
    first, second = RESULTS.detections(faces, HEADER).detections
    assert hypotheses(second)[0] == ("mask_worn_incorrectly", 0.375)
    assert (first.id, second.id) == ("7", "12")


def test_a_face_without_a_label_has_no_results_and_without_a_track_no_id():
    faces = two_faces(label_ids=[NO_LABEL, 0])
    first, second = RESULTS.detections(faces, HEADER).detections
    assert hypotheses(first) == []
    assert len(hypotheses(second)) == 3
    assert first.id == ""


def test_no_faces_are_empty_messages_with_the_header():
    nobody = Faces.empty(LABELS)
    assert RESULTS.detections(nobody, HEADER).header == HEADER
    assert not RESULTS.detections(nobody, HEADER).detections
    array = RESULTS.faces(nobody, HEADER)
    assert (array.header, list(array.label_names)) == (HEADER, list(LABELS))


def test_a_face_array_has_scores_landmarks_and_probabilities():
    array = RESULTS.faces(two_faces(track_ids=[7, 12]), HEADER)
    assert array.header == HEADER
    assert list(array.label_names) == list(LABELS)
    face = array.faces[1]
    assert (face.label, face.score, face.track_id) == ("with_mask", 0.75, "12")
    assert list(face.probabilities) == [0.5, 0.125, 0.375]
    assert [(p.x, p.y) for p in face.landmarks][:2] == [(10, 11), (12, 13)]
    assert (face.bbox.center.position.y, face.bbox.size_y) == (27, 40)
    assert (face.track_age.sec, face.track_age.nanosec) == (0, 0)


def test_a_tracked_face_tells_its_age():
    faces = two_faces(track_ids=[7, 12], track_ages=[0.0, 2.25])
    face = RESULTS.faces(faces, HEADER).faces[1]
    assert (face.track_age.sec, face.track_age.nanosec) == (2, 250_000_000)


def test_a_summary_tells_unique_people_only_where_somebody_tracks():
    people = {"with_mask": 3, "without_mask": 2, "mask_worn_incorrectly": 0}
    without = RESULTS.summary(two_faces(), people, HEADER, {})
    tracked = RESULTS.summary(two_faces(track_ids=[7, 12]), people, HEADER, {})
    assert list(without.unique_people) == []
    assert list(tracked.unique_people) == [3, 2, 0]


def test_an_alert_says_who_and_where_and_for_how_long():
    alert = RESULTS.alert(two_faces(track_ids=[7, 12]), 0, 2.5, HEADER)
    assert (alert.header, alert.track_id, alert.label) == (HEADER, "7", "without_mask")
    assert (alert.duration.sec, alert.duration.nanosec) == (2, 500_000_000)
    assert (alert.bbox.center.position.x, alert.bbox.size_y) == (30, 60)


def test_a_summary_counts_every_label_and_tells_where_the_time_went():
    times = dict(zip(LATENCY_PARTS, (1_500_000_000, 1, 2, 3_000_000, 4), strict=True))
    summary = RESULTS.summary(two_faces(), {}, HEADER, times)
    assert dict(zip(summary.label_names, summary.counts, strict=True)) == {
        "with_mask": 1,
        "without_mask": 1,
        "mask_worn_incorrectly": 0,
    }
    told = {part: getattr(summary, part) for part in LATENCY_PARTS}
    assert {part: 10**9 * t.sec + t.nanosec for part, t in told.items()} == times
    assert (summary.latency.sec, summary.latency.nanosec) == (1, 503_000_007)


@pytest.mark.parametrize("latency", [-1, 10**30, -(10**30)])
def test_a_latency_against_another_clock_still_fits_its_message(latency):
    """Given a stamp in the future, or of a clock with another origin."""
    summary = RESULTS.summary(two_faces(), {}, HEADER, {"transport": latency})
    assert (summary.latency.sec < 0) == (latency < 0)


def test_label_info_numbers_the_labels_in_the_order_of_the_model():
    info = RESULTS.label_info(LABELS, HEADER)
    assert info.header == HEADER
    assert [(c.class_id, c.class_name) for c in info.class_map] == list(enumerate(LABELS))
