# SPDX-License-Identifier: Apache-2.0
"""Ids that stay, labels that stand still."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mask_detector_ros.faces import Faces
from mask_detector_ros.tracking.tracker import MAX_GAP, Tracker

LABELS = ("with_mask", "without_mask", "mask_worn_incorrectly")
MASKED, BARE = (0.9, 0.05, 0.05), (0.05, 0.9, 0.05)


def faces(*places, size=40.0, probabilities=MASKED, names=LABELS):
    """Square faces around the places; `probabilities` of all or one row each."""
    centres = np.array(places, np.float32).reshape(-1, 2)
    n = len(centres)
    return Faces(
        np.hstack([centres - size / 2, centres + size / 2]),
        np.ones(n),
        np.zeros((n, 5, 2)),
        np.broadcast_to(np.array(probabilities, np.float32), (n, len(names))) if n else None,
        names,
    )


def both(first, second):
    """The faces of both."""
    names = ("boxes", "scores", "landmarks", "probabilities")
    joined = (np.concatenate([getattr(f, name) for f in (first, second)]) for name in names)
    return Faces(*joined, first.label_names)


def ids(tracked):
    return tracked.track_ids.tolist()


def test_a_person_who_walks_keeps_the_id_and_grows_older():
    tracker = Tracker()
    for i in range(30):
        tracked = tracker.update(faces((50 + 10 * i, 100)), i / 10)
        assert ids(tracked) == [1]
        assert tracked.track_ages == pytest.approx([i / 10])


@pytest.mark.parametrize("rate", [5, 10, 15, 30])
@pytest.mark.parametrize("speed", [40, 60, 120, 200])
def test_two_who_cross_and_hide_each_other_keep_their_ids(rate, speed):
    """Given two alike who meet at x=300; the farther one is not seen while they overlap."""
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


def test_whoever_is_missed_is_foretold_where_they_walk():
    tracker = Tracker()
    for i in range(20):
        tracker.update(faces((100 + 10 * i, 100)), i / 10)
    assert len(tracker.missed_boxes()) == 0
    tracker.update(faces(), 2.0)
    ((x1, y1, x2, y2),) = tracker.missed_boxes()
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


def flips(tracker, rows, rate=10):
    labels = [
        tracker.update(faces((100, 100), probabilities=row), i / rate).labels[0]
        for i, row in enumerate(rows)
    ]
    return sum(a != b for a, b in pairwise(labels)), labels


def test_single_wrong_observations_do_not_change_the_label():
    rows = [MASKED if i % 4 else BARE for i in range(1, 80)]
    assert flips(Tracker(smoothing=0), rows)[0] > 30
    assert flips(Tracker(smoothing=1), rows) == (0, ["with_mask"] * 79)


def test_a_label_on_the_edge_does_not_flicker():
    near = [(0.5 + 0.1 * (-1) ** i, 0.5 - 0.1 * (-1) ** i, 0.0) for i in range(100)]
    assert flips(Tracker(smoothing=0), near)[0] == 99
    assert flips(Tracker(smoothing=1), near)[0] == 0


def test_who_takes_the_mask_off_is_seen_within_a_second():
    count, labels = flips(Tracker(smoothing=1), [MASKED] * 50 + [BARE] * 50)
    assert count == 1
    assert 50 <= labels.index("without_mask") <= 60


def test_the_first_observation_does_not_weigh_for_ever():
    _, labels = flips(Tracker(smoothing=10), [BARE] + [MASKED] * 10)
    assert labels[3:] == ["with_mask"] * 8


@given(st.lists(st.tuples(*[st.floats(0.01, 1)] * 3), min_size=1, max_size=40))
def test_smoothed_probabilities_are_probabilities_and_the_most_probable_label_is_shown(rows):
    tracker = Tracker(smoothing=1)
    for i, row in enumerate(rows):
        normal = np.array(row) / sum(row)
        tracked = tracker.update(faces((100, 100), probabilities=normal), i / 10)
        (row_out,) = tracked.probabilities
        assert row_out.sum() == pytest.approx(1, abs=1e-4)
        assert row_out.max() == row_out[tracked.label_ids[0]], "the label shown leads"
        assert tracked.label_probabilities[0] == row_out.max()


def test_without_smoothing_probabilities_and_labels_are_the_classifiers():
    tracker = Tracker(smoothing=0)
    for i, row in enumerate([MASKED, BARE, MASKED]):
        found = faces((100, 100), probabilities=row)
        tracked = tracker.update(found, i / 10)
        np.testing.assert_array_equal(tracked.probabilities, found.probabilities)
        np.testing.assert_array_equal(tracked.label_ids, found.label_ids)


def test_people_are_counted_once_and_single_false_faces_not_at_all():
    tracker = Tracker()
    for i in range(50):
        places = [(100, 100), (300, 100)] if i % 10 else [(100, 100), (300, 100), (500, 400)]
        rows = [MASKED, BARE, BARE][: len(places)]
        tracker.update(faces(*places, probabilities=rows), i / 10)
    assert tracker.count_people(3) == [1, 1, 0]
    tracker.update(faces(), 60.0)
    assert tracker.count_people(3) == [1, 1, 0], "those who left still count"
    tracker.reset()
    assert tracker.count_people(3) == [0, 0, 0]
    assert min(ids(tracker.update(faces((100, 100)), 61.0))) > 2, "ids are not used again"


@pytest.mark.parametrize(("rate", "looks"), [(3, 3), (10, 6), (30, 16)])
def test_a_person_counts_after_three_hits_and_half_a_second(rate, looks):
    tracker, counts = Tracker(), []
    for i in range(looks):
        tracker.update(faces((100, 100)), i / rate)
        counts.append(tracker.count_people(3)[0])
    assert counts == [0] * (looks - 1) + [1]


def test_an_alert_comes_once_a_track_after_its_time():
    tracker, alerts = Tracker(), []
    for i in range(80):
        tracker.update(faces((100, 100), (300, 100), probabilities=[BARE, MASKED]), i / 10)
        alerts += [(i / 10, *a) for a in tracker.raise_alerts({1}, 2.0)]
    ((when, who, seconds),) = alerts
    assert (who, seconds) == (1, pytest.approx(2.0, abs=0.11))
    assert when == pytest.approx(2.0, abs=0.11)


def test_an_alert_waits_until_the_mask_is_off_and_the_person_in_sight():
    tracker = Tracker()
    for i in range(20):
        tracker.update(faces((100, 100), probabilities=MASKED), i / 10)
        assert tracker.raise_alerts({1}, 1.0) == []
    for i in range(20, 32):
        tracker.update(faces((100, 100), probabilities=BARE), i / 10)
    tracker.update(faces(), 3.2)
    assert tracker.raise_alerts({1}, 0.1) == [], "nobody is in the image"
    tracker.update(faces((100, 100), probabilities=BARE), 3.3)
    assert [who for who, _ in tracker.raise_alerts({1}, 0.1)] == [1]


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
    """The box of a face cut off at the edge grows several times as fast as one that walks up."""
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
