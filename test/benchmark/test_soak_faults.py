# SPDX-License-Identifier: Apache-2.0
"""After each fault of the soak test, in a short form, the node responds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: run `make setup`")

from benchmark import soak_faults
from benchmark.processes import Lost, wait_for
from benchmark.soak import Report, Sample, cycle
from benchmark.soak_rig import Rig
from mask_detector_ros.ros.demo.graph import graph_environment

SCALE = 0.05
QUICK = (
    soak_faults.publisher_killed,
    soak_faults.publisher_stalled,
    soak_faults.corrupt,
    soak_faults.sizes_and_encodings,
    soak_faults.qos_changes,
    soak_faults.clock_jumps,
    soak_faults.subscribers_come_and_go,
    soak_faults.parameters_change,
    *soak_faults.HOSTILE,
)
"""Those that no other test brings about, or not while images come."""


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    folder: Path = tmp_path_factory.mktemp("rig")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**graph_environment(), "ROS_LOG_DIR": str(folder)}.items():
            patch.setenv(name, value)
        rig = Rig(folder)
        yield rig
        rig.close()


@pytest.mark.parametrize("fault", QUICK, ids=lambda fault: fault.__name__)
def test_the_node_recovers(rig: Rig, fault) -> None:
    fault(rig, SCALE)
    rig.recover()
    assert rig.detector.poll() is None


def test_a_lifecycle_cycle_is_looked_at_and_answered(rig: Rig) -> None:
    report = cycle(rig, 2)
    assert report.lost == []
    assert len(report.rounds) == len(report.recoveries["lifecycle_cycle"]) == 2
    for sample in report.rounds:
        assert min(sample.idle_mb, sample.threads, sample.descriptors) > 0
        assert sample.working_mb > sample.idle_mb


def test_images_of_changing_sizes_are_streamed(rig: Rig) -> None:
    before = rig.frames
    rig.stream(0.5)
    assert rig.frames > before


def test_what_never_comes_is_lost() -> None:
    with pytest.raises(Lost, match=r"waited 0\.01 s for a wonder"):
        wait_for(lambda: False, "a wonder", limit=0.01)


def rounds(
    *megabytes: float, threads: Sequence[int] = (), descriptors: Sequence[int] = ()
) -> list[Sample]:
    return [
        Sample(60.0 * i, 100 * i, m + 100, *(n[i] if n else 20 for n in (threads, descriptors)), m)
        for i, m in enumerate(megabytes)
    ]


FLAT = (300, 350, 320, 340, 330, 325)


@pytest.mark.parametrize(
    ("report", "passed"),
    [
        (Report(rounds=rounds(*FLAT)), True),
        (Report(rounds=rounds(300, 350, 320, 340, 335, 360)), False),
        (Report(rounds=rounds(*FLAT), lost=["flood: gone"]), False),
        (Report(rounds=rounds(*FLAT, threads=(9, 9, 20, 25, 25, 20))), True),
        (Report(rounds=rounds(*FLAT, threads=(9, 9, 20, 25, 25, 21))), False),
        (Report(rounds=rounds(*FLAT, descriptors=(9, 9, 20, 20, 21, 21))), False),
        (Report(rounds=rounds(300)), True),
        (Report(), False),
    ],
)
def test_the_soak_passes_only_without_losses_leaks_and_growth(report: Report, passed: bool) -> None:
    assert report.passed is passed
