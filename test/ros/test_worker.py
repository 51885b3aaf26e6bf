# SPDX-License-Identifier: Apache-2.0
"""The worker thread that always takes the newest item."""

from __future__ import annotations

import threading

import pytest
from waiting import LIMIT

from mask_detector_ros.ros.worker import NewestItemWorker


def test_an_item_that_waits_gives_way_to_a_newer_one() -> None:
    done: list[int] = []
    at_work, go_on, finished = threading.Event(), threading.Event(), threading.Event()

    def process(_: str, item: int) -> None:
        at_work.set()
        assert go_on.wait(LIMIT)
        done.append(item)
        if item == 4:
            finished.set()

    worker = NewestItemWorker(process, on_crash=lambda: None)
    assert worker.submit("a", 1) is False
    assert at_work.wait(LIMIT)
    assert [worker.submit("a", item) for item in (2, 3, 4)] == [False, True, True]
    go_on.set()
    assert finished.wait(LIMIT)
    assert done == [1, 4]
    assert worker.stop(LIMIT)


@pytest.mark.parametrize("clear", [False, True])
def test_an_item_that_waits_when_the_worker_is_stopped_or_cleared_is_dropped(clear: bool) -> None:
    done: list[int] = []
    at_work, go_on = threading.Event(), threading.Event()

    def process(_: str, item: int) -> None:
        at_work.set()
        assert go_on.wait(LIMIT)
        done.append(item)

    worker = NewestItemWorker(process, on_crash=lambda: None)
    worker.submit("a", 1)
    assert at_work.wait(LIMIT)
    worker.submit("a", 2)
    if clear:
        worker.clear()
    else:
        assert not worker.stop(timeout=0.01), "it waits for the item in work"
    go_on.set()
    assert worker.stop(timeout=None)
    assert done == [1]


def test_senders_are_served_in_turn_whenever_and_however_often_they_send() -> None:
    """Given a sender that always submits before the other, also right after its turn."""
    done: list[tuple[str, int]] = []
    at_work, go_on, finished = threading.Event(), threading.Event(), threading.Event()

    def process(sender: str, item: int) -> None:
        at_work.set()
        assert go_on.wait(LIMIT)
        if len(done) < 4:
            for eager in ("busy", "calm"):
                worker.submit(eager, item + 1)
        done.append((sender, item))
        if len(done) == 6:
            finished.set()

    worker = NewestItemWorker(process, on_crash=lambda: None)
    worker.submit("busy", 0)
    assert at_work.wait(LIMIT)
    replaced = [worker.submit(*task) for task in (("busy", 1), ("calm", 1), ("busy", 1))]
    assert replaced == [False, False, True]
    go_on.set()
    assert finished.wait(LIMIT)
    assert [sender for sender, _ in done] == ["busy", "calm"] * 3
    assert worker.stop(LIMIT)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_exception_is_not_swallowed() -> None:
    crashed = threading.Event()

    def process(_: str, item: int) -> None:
        raise RuntimeError("a bug")

    worker = NewestItemWorker(process, on_crash=crashed.set)
    worker.submit("a", 1)
    assert crashed.wait(LIMIT)
    assert worker.stop(LIMIT)
