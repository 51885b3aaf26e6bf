# SPDX-License-Identifier: Apache-2.0
"""TensorRT and stored engines: an unusable file is rebuilt, and the reason logged."""

import json

import pytest
from gpu_stand_in import build_here, network
from stored_engines import open_session

from mask_detector_ros.errors import ModelError
from mask_detector_ros.inference.tensorrt import session
from mask_detector_ros.inference.tensorrt.cache import HASH, _signed
from mask_detector_ros.inference.tensorrt.trust import keyed_hash


@pytest.fixture(autouse=True)
def _quick_builds(monkeypatch):
    monkeypatch.setattr(session, "build_in_process", build_here)


def test_a_stored_engine_is_used_again(any_gpu, tmp_path):
    open_session(tmp_path)
    open_session(tmp_path)
    assert any_gpu.builds == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda path: path.write_bytes(b"rubbish"), "not an engine of this package"),
        (lambda path: path.write_bytes(path.read_bytes()[:-9]), "is damaged"),
        (lambda path: _replace_plan(path, b"rubbish"), "rejects the engine of scale"),
        (lambda path: _replace_plan(path, _plan(network(0.9))), "differs from the CPU"),
        (lambda path: _replace_plan(path, _plan(network(width=4))), "takes x float32 (-1, 4)"),
    ],
    ids=["rubbish", "cut off", "refused by TensorRT", "of another network", "of another shape"],
)
def test_a_file_that_cannot_serve_is_rebuilt_and_the_reason_logged(
    gpu, tmp_path, caplog, change, reason
):
    caplog.set_level("INFO")
    open_session(tmp_path)
    caplog.clear()
    change(next(tmp_path.glob("*.engine")))
    builds = gpu.builds
    open_session(tmp_path)
    assert gpu.builds == builds + 1
    line = next(r.getMessage() for r in caplog.records if "building the engine" in r.getMessage())
    assert reason in line
    open_session(tmp_path)
    assert gpu.builds == builds + 1


def test_another_gpu_or_tensorrt_gets_an_engine_of_its_own(bare_gpu, tmp_path):
    for builds, (version, name) in enumerate(
        [("10.3.0", "Orin"), ("10.13.3", "Orin"), ("10.13.3", "Thor"), ("rtx-1.7.1", "Thor")]
    ):
        bare_gpu.set(gpu=name)
        bare_gpu.install(version)
        open_session(tmp_path)
        assert bare_gpu.builds == builds + 1
    bare_gpu.set(gpu="Orin")
    bare_gpu.install("10.3.0")
    open_session(tmp_path)
    assert bare_gpu.builds == 4


def test_an_engine_that_fails_the_comparison_is_not_stored(gpu, tmp_path):
    gpu.set(run_fault="nan")
    with pytest.raises(ModelError, match="infinity or NaN"):
        open_session(tmp_path)
    gpu.set(run_fault="wrong")
    with pytest.raises(ModelError, match="differs from the CPU"):
        open_session(tmp_path)
    assert list(tmp_path.glob("*.engine")) == []


def test_a_stored_engine_that_gives_no_numbers_is_rebuilt(gpu, tmp_path, caplog):
    caplog.set_level("INFO")
    open_session(tmp_path)
    gpu.set(run_fault="nan")
    with pytest.raises(ModelError, match="infinity or NaN"):
        open_session(tmp_path)
    assert gpu.builds == 2
    assert "building the engine of scale (fp32): scale on Orin" in caplog.text


def test_a_folder_that_cannot_be_written_is_a_warning_and_the_engine_stays_in_memory(
    gpu, tmp_path, caplog
):
    file = tmp_path / "file"
    file.write_text("no folder")
    open_session(file / "engines")
    assert "they stay in memory and are rebuilt" in caplog.text
    open_session(file / "engines")
    assert gpu.builds == 2


def _replace_plan(path, plan):
    """The same file with another plan and its hash, as if TensorRT had written it."""
    magic, line, _ = path.read_bytes().split(b"\n", 2)
    header = json.loads(line)
    del header[HASH]
    header = {**header, HASH: keyed_hash(_signed(header, plan))}
    path.write_bytes(b"\n".join([magic, json.dumps(header).encode(), plan]))


def _plan(model):
    """The plan that the stand-in builds from a network."""
    from mask_detector_ros.inference.tensorrt.builder import BuildRequest, build_in_process

    width = 4 if model == network(width=4) else 3
    profile = {"x": ((1, width), (8, width), (128, width))}
    return build_in_process(BuildRequest("other", False, profile), model)
