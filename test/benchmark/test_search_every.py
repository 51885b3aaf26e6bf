# SPDX-License-Identifier: Apache-2.0
"""The time that `search_every` saves, and the faces that it misses."""

import json
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("skimage", reason="the sample scene needs the sample extra")

from benchmark.search_every import Tally, main
from mask_detector_ros.faces import Faces
from mask_detector_ros.sources.sample_scene import RATE_HZ


def faces(*lefts, ids=()):
    boxes = np.float32([[left, 0, left + 50, 60] for left in lefts]).reshape(-1, 4)
    found = Faces(boxes, np.ones(len(boxes), np.float32), np.zeros((len(boxes), 5, 2), np.float32))
    return replace(found, track_ids=np.array(ids)) if ids else found


def test_recall_false_faces_waits_and_times_are_counted():
    tally, reference = Tally(), Tally()
    reference.add(faces(0, 100), faces(0, 100, ids=(1, 2)), 0, 0.2)
    tally.add(faces(0, 300), faces(0, 100, ids=(1, 2)), 0, 0.1)
    tally.add(faces(), faces(0, 100, ids=(1, 2)), 1, 0.2)
    tally.add(faces(102), faces(100, ids=(2,)), 3, 0.0)
    assert tally.report(reference) == pytest.approx(
        {
            "recall": 2 / 5,
            "false_faces": 1,
            "mean_ms": 100,
            "share_of_time": 0.5,
            "newcomers_s": 3 / RATE_HZ / 2,
        }
    )


def test_the_command_measures_each_setting_beside_searching_all(tmp_path, capsys):
    out = tmp_path / "report.json"
    arguments = ["--every", "4", "--seconds", "0.5", "--min-face-size", "60", "--out", str(out)]
    assert main(arguments) == 0
    results = json.loads(out.read_text())["results"]
    assert sorted(results) == ["1", "4"]
    assert results["1"]["share_of_time"] == 1
    assert results["1"]["recall"] > 0.9
    assert results["4"]["recall"] > 0.9
    assert f"{results['4']['recall']:.3f}" in capsys.readouterr().out


def test_a_setting_out_of_range_is_wrong_use(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--every", "0"])
    assert ended.value.code == 2
    assert "search_every must be an integer from 1 to 100, got 0" in capsys.readouterr().err
