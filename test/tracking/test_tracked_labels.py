# SPDX-License-Identifier: Apache-2.0
"""Labels are steady, people are counted once, and alerts are raised."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tracked_faces import BARE, MASKED, faces, ids

from mask_detector_ros.tracking.tracker import Tracker


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
