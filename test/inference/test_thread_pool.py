# SPDX-License-Identifier: Apache-2.0
"""ThreadPool runs the parts of a job in parallel."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mask_detector_ros.inference.thread_pool import ThreadPool

PATIENCE = 30
"""Seconds that a thread waits for another before it gives up."""


@given(st.lists(st.integers()), st.integers(1, 4))
def test_results_come_in_the_order_of_the_parts(parts, count):
    assert ThreadPool(count).map(lambda part: -part, parts) == [-part for part in parts]


@pytest.mark.parametrize("count", [2, 3])
def test_as_many_parts_are_worked_on_at_a_time(count):
    meeting = threading.Barrier(count)
    threads = ThreadPool(count)
    for _ in range(3):
        names = threads.map(
            lambda part: (meeting.wait(PATIENCE), threading.current_thread())[1], range(count)
        )
        assert len(set(names)) == count
        assert threading.current_thread() in names


@pytest.mark.parametrize(("count", "parts"), [(1, 5), (3, 1)])
def test_without_company_the_caller_does_it_in_turn(count, parts):
    seen = []
    ThreadPool(count).map(
        lambda part: seen.append((part, threading.current_thread())), range(parts)
    )
    assert seen == [(part, threading.current_thread()) for part in range(parts)]


@pytest.mark.parametrize("fails_in_the_caller", [True, False])
def test_an_error_comes_out_when_nobody_is_at_work_any_more(fails_in_the_caller):
    threads, meeting, caller = ThreadPool(2), threading.Barrier(2), threading.current_thread()
    done = []

    def work(part):
        if part < 2:
            meeting.wait(PATIENCE)
            if (threading.current_thread() is caller) == fails_in_the_caller:
                raise ValueError("no")
        done.append(part)

    with pytest.raises(ValueError, match="no"):
        threads.map(work, range(100))
    count = len(done)
    assert threads.map(abs, [-1, -2, -3]) == [1, 2, 3]
    assert len(done) == count


def test_one_pair_of_lanes_serves_jobs_one_after_the_other():
    threads = ThreadPool(2)
    for size in (3, 0, 1, 50):
        assert threads.map(str, range(size)) == [str(number) for number in range(size)]
