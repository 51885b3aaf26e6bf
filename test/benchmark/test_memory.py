"""What the memory benchmark reads and concludes."""

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")

from benchmark.memory import WARM_UP_FRAMES, growth, resident_memory

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
