# SPDX-License-Identifier: Apache-2.0
"""Engine builds are recorded as they finish, and not measured twice."""

import json

import pytest

from benchmark import engine_builds
from mask_detector_ros.errors import BackendError

DONE = {"bytes": 2_500_000, "seconds": 1.5}


@pytest.fixture
def measure(tmp_path, monkeypatch):
    """Run the command on one small file for two targets; return its builds and the rows."""
    model = tmp_path / "net.onnx"
    model.write_bytes(b"a network")
    jobs = [("net", model, "fp32")]
    monkeypatch.setattr(engine_builds, "jobs", lambda folder: jobs)
    options = engine_builds.build_parser().parse_args(["--out", str(tmp_path / "out" / "b.json")])

    def run(build):
        built = []

        def note(model, plan, precision, target, limit):
            built.append(target)
            return build(target)

        monkeypatch.setattr(engine_builds, "build", note)
        return built, engine_builds.measure(options), json.loads(options.out.read_text())

    return run


def test_what_was_interrupted_goes_on_where_it_was(measure):
    def interrupted(target):
        if target == "SM86":
            raise KeyboardInterrupt
        return DONE

    with pytest.raises(KeyboardInterrupt):
        measure(interrupted)
    built, rows, stored = measure(lambda target: DONE)
    assert built == ["SM86"]
    assert [row["for"] for row in rows] == ["SM75", "SM86"]
    assert stored == rows
    assert measure(lambda target: DONE)[0] == []


def test_a_build_that_fails_is_a_row_and_not_the_end(measure):
    def fail(target):
        if target == "SM75":
            raise BackendError("not built in 300 s")
        return DONE

    _, rows, _ = measure(fail)
    failed, done = map(engine_builds.describe, rows)
    assert failed[:4] == ("net", "fp32", "SM75", "not built in 300 s")
    assert done == ("net", "fp32", "SM86", 2.5, 1.5)
