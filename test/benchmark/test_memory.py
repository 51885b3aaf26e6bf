# SPDX-License-Identifier: Apache-2.0
"""The memory benchmark reads and evaluates samples correctly."""

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")

from benchmark import memory_bound
from benchmark.memory import WARM_UP_FRAMES, growth, main, steady, summarise
from benchmark.processes import resident_memory
from mask_detector_ros.errors import MaskDetectorError

STATUS = "Name:\tpython\nVmPeak:\t 900000 kB\nVmRSS:\t 204800 kB\nRssAnon:\t 102400 kB\n"


def test_resident_memory_is_read_in_megabytes():
    assert resident_memory(STATUS) == {"VmRSS": 200, "RssAnon": 100}


def test_memory_that_rises_only_during_the_warm_up_is_flat():
    samples = [(n, min(n, WARM_UP_FRAMES) / 10) for n in range(50, 5001, 50)]
    assert growth(samples) == 0


def test_a_steady_leak_shows():
    samples = [(n, 100 + n / 500) for n in range(50, 5001, 50)]
    assert growth(samples) == pytest.approx(8.2, abs=0.5)


def test_one_high_sample_is_no_growth():
    samples = [(n, 100.0) for n in range(50, 5001, 50)]
    samples[-1] = (5000, 150.0)
    assert growth(samples) == 0


def test_a_run_that_ends_in_its_warm_up_says_nothing():
    with pytest.raises(ValueError, match="too few samples"):
        growth([(50, 100.0), (100, 100.0)])


def test_the_steady_state_is_where_the_run_ends():
    assert steady([500.0] * 50 + [300.0] * 50) == 300
    assert steady([300.0]) == 300


def test_a_run_tells_its_peak_from_before_the_warm_up_too():
    samples = [(n, {"VmRSS": 300.0, "RssShmem": 60.0, "VmHWM": 340.0}) for n in (500, 550, 600)]
    run = summarise(samples, {"frames_published": 700, "faces_found": 9}, 12.34)
    assert (run["peak_mb"], run["steady_mb"]["VmRSS"], run["growth_mb"]["VmRSS"]) == (340, 300, 0)
    assert (run["frames_processed"], run["frames_published"], run["seconds"]) == (600, 700, 12.3)


def test_a_bound_that_cannot_be_measured_is_one_line(monkeypatch, capsys):
    def fail(*arguments):
        raise MaskDetectorError("the process of an image was killed")

    monkeypatch.setattr(memory_bound, "run", fail)
    assert main(["--bound"]) == 1
    assert capsys.readouterr().err == "error: the process of an image was killed\n"
