# SPDX-License-Identifier: Apache-2.0
"""Track ids are stable."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tracked_faces import LABELS, both, faces, ids

from mask_detector_ros.faces import Faces
from mask_detector_ros.tracking.tracker import MAX_GAP, Tracker


def test_a_person_who_walks_keeps_the_id_and_grows_older():
    tracker = Tracker()
    for i in range(30):
        tracked = tracker.update(faces((50 + 10 * i, 100)), i / 10)
        assert ids(tracked) == [1]
        assert tracked.track_ages == pytest.approx([i / 10])


@pytest.mark.parametrize("rate", [5, 10, 15, 30])
@pytest.mark.parametrize("speed", [40, 60, 120, 200])
def test_two_who_cross_and_hide_each_other_keep_their_ids(rate, speed):
    """Given two equal faces that meet at x=300; the farther one is hidden while they overlap."""
    tracker, seen = Tracker(), []
    for i in range(int(rate * 500 / speed)):
        left, right = 50 + speed * i / rate, 550 - speed * i / rate
        places = [(left, 100)] if abs(left - right) < 25 else [(left, 100), (right, 104)]
        seen.append(ids(tracker.update(faces(*places), i / rate)))
    assert {tuple(s) for s in seen} == {(1, 2), (1,)}


@given(st.permutations(range(6)))
def test_the_order_of_the_faces_does_not_matter(order):
    places = [(60.0 * i, 100.0) for i in range(6)]
    tracker = Tracker()
    first = tracker.update(faces(*places), 0.0)
    second = tracker.update(faces(*[places[k] for k in order]), 0.1)
    assert ids(second) == [ids(first)[k] for k in order]


@given(
    st.lists(
        st.tuples(
            st.floats(0, 0.4),
            st.lists(st.tuples(st.floats(-50, 700), st.floats(-50, 500)), max_size=6),
        ),
        max_size=20,
    )
)
def test_ids_are_never_shared_and_the_faces_come_back_as_they_were(images):
    tracker, now, known = Tracker(), 0.0, set()
    for step, places in images:
        now += step
        found = faces(*places)
        tracked = tracker.update(found, now)
        assert len(set(ids(tracked))) == len(found)
        np.testing.assert_array_equal(tracked.boxes, found.boxes)
        assert (tracked.track_ages >= 0).all()
        new = set(ids(tracked)) - known
        assert not new or not known or min(new) > max(known)
        known |= new


@pytest.mark.parametrize(("gap", "same"), [(MAX_GAP - 0.2, True), (MAX_GAP + 0.2, False)])
def test_a_short_gap_is_bridged_and_a_long_one_not(gap, same):
    tracker = Tracker()
    for i in range(10):
        tracker.update(faces((100, 100)), i / 10)
    for i in range(1, round(gap * 10)):
        assert len(tracker.update(faces(), 0.9 + i / 10)) == 0
    assert (ids(tracker.update(faces((100, 100)), 0.9 + gap)) == [1]) is same


@pytest.mark.parametrize("rate", [5, 10, 15, 30])
@pytest.mark.parametrize(
    ("period", "score", "people"),
    [
        pytest.param(1, 0.99, 1, id="a good face"),
        pytest.param(1, 0.75, 1, id="a poor face"),
        pytest.param(2, 0.99, 0, id="every other image"),
        pytest.param(4, 0.85, 0, id="now and then"),
    ],
)
def test_a_face_that_comes_and_goes_is_nobody(rate, period, score, people):
    tracker = Tracker()
    for i in range(5 * rate):
        found = faces((100, 100)) if i % period == 0 else faces()
        found = replace(found, scores=np.full(len(found), score, np.float32))
        tracker.update(found, i / rate)
    assert sum(tracker.count_people(3)) == people


def test_a_person_once_counted_may_be_hidden_more_often_than_seen():
    tracker = Tracker()
    for i in range(100):
        is_seen = i < 10 or i % 10 == 0
        tracked = tracker.update(faces((100, 100)) if is_seen else faces(), i / 10)
        assert ids(tracked) == [1] * is_seen
    assert sum(tracker.count_people(3)) == 1


def test_a_false_face_does_not_take_that_of_a_person():
    """Given a new, larger face beside a person, then a small one that only the person fits."""
    tracker = Tracker()
    for i in range(10):
        tracker.update(faces((100, 100)), i / 10)
    beside = both(faces((100, 100)), faces((125, 110), size=44))
    assert ids(tracker.update(beside, 1.0)) == [1, 2]
    below = both(faces((100, 100)), faces((105, 115), size=21))
    assert ids(tracker.update(below, 1.1)) == [1, 3]


def test_a_missed_person_is_predicted_where_they_walk():
    tracker = Tracker()
    for i in range(20):
        tracker.update(faces((100 + 10 * i, 100)), i / 10)
    assert len(tracker.unseen_boxes(people_only=True)) == 0
    tracker.update(faces(), 2.0)
    ((x1, y1, x2, y2),) = tracker.unseen_boxes(people_only=True)
    assert (x1 + x2) / 2 == pytest.approx(300, abs=4)
    assert (y2 - y1, x2 - x1) == pytest.approx((40, 40), abs=2)


@pytest.mark.parametrize("step", [0.0, -0.001, 1e-9])
def test_a_camera_without_stamps_is_followed_too(step):
    tracker = Tracker()
    for i in range(30):
        tracked = tracker.update(faces((100 + 5 * i, 100)), 7.0 + i * step)
    assert ids(tracked) == [1]
    for _ in range(30):
        tracker.update(faces(), 7.0)
    assert ids(tracker.update(faces((250, 100)), 7.0)) != [1], "gaps end there as well"


@pytest.mark.parametrize("jump", [-3600.0, -2.0, 2.0, 1e9])
def test_after_a_jump_of_the_clock_everybody_is_somebody_new(jump):
    tracker = Tracker()
    for i in range(6):
        tracker.update(faces((100, 100)), 1000 + i / 10)
    tracked = tracker.update(faces((100, 100)), 1000.5 + jump)
    assert ids(tracked) == [2]
    assert tracked.track_ages == [0]
    assert tracker.count_people(3) == [1, 0, 0], "the new one is no person yet"


@pytest.mark.parametrize("box", [[np.nan] * 4, [np.inf, 0, 1, 1], [5, 5, 5, 5], [9, 9, 1, 1]])
def test_a_broken_box_does_not_break_the_others(box):
    tracker = Tracker()
    good = faces((100, 100), (200, 100))
    boxes = np.vstack([good.boxes, [box]])
    for i in range(5):
        found = Faces(boxes, np.ones(3), np.zeros((3, 5, 2)), np.full((3, 3), 0.3), LABELS)
        tracked = tracker.update(found, i / 10)
        assert ids(tracked)[:2] == [1, 2]


def test_faces_without_a_classifier_are_followed():
    tracker = Tracker()
    for i in range(5):
        found = Faces([[0, 0, 40, 40]], [1], np.zeros((1, 5, 2)))
        tracked = tracker.update(found, i / 10)
    assert (ids(tracked), tracked.labels) == ([1], [""])


def test_a_face_that_walks_up_to_the_camera_keeps_its_id():
    tracker = Tracker()
    for i in range(40):
        tracked = tracker.update(faces((200, 200), size=24 * math.exp(i / 20)), i / 10)
        assert ids(tracked) == [1]


@pytest.mark.parametrize("rate", [15, 7.5, 5])
def test_a_face_that_comes_in_at_the_edge_of_the_frame_keeps_its_id(rate):
    """The box of a face at the frame's edge grows several times as fast as that of a person who
    comes nearer."""
    tracker = Tracker()
    for i in range(12):
        width = min(40 + 19 * i, 90)
        face = faces((640 - width / 2, 200), size=np.array([width, 100.0]))
        if i % round(15 / rate) == 0 and i < 5:
            tracked = tracker.update(face, i / 15)
            assert ids(tracked) == [1]
    # Where it is, not where its box would have grown to.
    tracker.update(faces(), 0.6)
    (box,) = tracker.unseen_boxes()
    assert box[3] - box[1] < 120
