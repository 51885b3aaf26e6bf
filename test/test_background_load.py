# SPDX-License-Identifier: Apache-2.0
"""Loading in the background: a state, a result that is returned once, cancellation."""

import threading

import pytest
from waiting import wait_until

from mask_detector_ros.background_load import BackgroundLoad
from mask_detector_ros.errors import ModelError


def test_the_result_is_there_once_and_only_when_it_is_ready():
    begin = threading.Event()

    def load(say, cancelled):
        say("building a, 40%")
        begin.wait()
        return "loaded"

    background = BackgroundLoad(load, "staying on the CPU")
    wait_until(lambda: background.state == "building a, 40%")
    assert background.take() is None
    begin.set()
    background.wait()
    assert background.state == "ready"
    assert background.take() == "loaded"
    assert background.failure == ""
    assert background.take() is None
    assert background.state == "ready"


def test_a_failure_is_kept_and_logged(caplog):
    def load(say, cancelled):
        raise ModelError("no such layer; use another")

    background = BackgroundLoad(load, "staying on the CPU")
    background.wait()
    assert background.state == "failed: no such layer; use another"
    assert background.failure == "no such layer; use another"
    assert background.take() is None
    assert "staying on the CPU: no such layer; use another" in caplog.text


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_mistake_of_ours_does_not_look_like_work_in_progress():
    background = BackgroundLoad(lambda say, cancelled: 1 / 0, "staying on the CPU")
    background.wait()
    assert background.state.startswith("failed: unexpected error")


def test_giving_up_waits_for_the_thread_and_drops_the_result():
    def load(say, cancelled):
        wait_until(cancelled)
        return "too late"

    background = BackgroundLoad(load, "staying on the CPU")
    background.cancel()
    assert background.take() is None
