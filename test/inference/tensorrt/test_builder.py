# SPDX-License-Identifier: Apache-2.0
"""Engines are built in a separate process, and its errors are reported here."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest
from gpu_stand_in import has_ended, network
from onnx import TensorProto, helper
from waiting import wait_until

from mask_detector_ros.errors import BackendError, ModelError
from mask_detector_ros.inference import EngineOptions, create_session
from mask_detector_ros.inference.tensorrt.builder import (
    BuildCancelledError,
    BuildRequest,
    build_in_process,
)

PROFILE = {"x": ((1, 3), (8, 3), (128, 3))}
REQUEST = BuildRequest("scale", False, PROFILE)


def test_progress_comes_from_zero_to_one_where_tensorrt_tells_it(any_gpu):
    shares = []
    build_in_process(REQUEST, network(), lambda share: share is None or shares.append(share))
    if any_gpu.version.startswith("8"):
        assert shares == []
    else:
        np.testing.assert_allclose(shares, np.arange(1, 11) / 10)


def test_what_the_parser_refuses_is_a_fault_of_the_model(any_gpu):
    with pytest.raises(ModelError, match="TensorRT cannot build scale: "):
        build_in_process(REQUEST, b"rubbish" if any_gpu.version[0] == "8" else network()[:-40])


def test_what_the_builder_refuses_is_told_with_its_reason(gpu):
    gpu.set(build_fault="refuse")
    with pytest.raises(BackendError, match="cannot build scale: Could not find any implementation"):
        build_in_process(REQUEST, network())


def test_a_network_with_an_input_that_has_no_profile_is_refused(gpu):
    nodes = [helper.make_node("Add", ["a", "b"], ["c"])]
    ends = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3]) for name in names]
        for names in ("ab", "c")
    ]
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(
        helper.make_graph(nodes, "add", *ends), opset_imports=opset, ir_version=8
    )
    request = BuildRequest("add", False, {"a": PROFILE["x"]})
    with pytest.raises(BackendError, match="cannot build add: Network has dynamic inputs"):
        build_in_process(request, model.SerializeToString())


def test_a_builder_that_is_killed_says_memory_and_what_to_do(gpu):
    gpu.set(build_fault="kill")
    with pytest.raises(BackendError, match=r"scale was killed, .* memory.*; .*--workspace 128"):
        build_in_process(REQUEST, network())


def test_a_tensorrt_that_cannot_be_imported_is_a_backend_that_is_missing(bare_gpu, tmp_path):
    bare_gpu.install()
    for file in tmp_path.rglob("tensorrt.py"):
        file.write_text("raise ImportError('libnvinfer.so.10: cannot open shared object file')")
    with pytest.raises(BackendError, match=r"cannot be imported .*libnvinfer.so.10"):
        build_in_process(REQUEST, network())


def test_a_target_needs_a_tensorrt_that_has_targets(any_gpu):
    request = BuildRequest("scale", False, PROFILE, target="SM20")
    what = "has no target 'SM20'; it has .*SM86" if "rtx" in any_gpu.version else "out --target"
    with pytest.raises(BackendError, match=what):
        build_in_process(request, network())


def test_a_build_can_be_given_up(gpu):
    gpu.set(build_seconds=60)
    cancelled = threading.Event()
    threading.Timer(0.5, cancelled.set).start()
    with pytest.raises(BuildCancelledError, match="the build of scale was cancelled"):
        build_in_process(REQUEST, network(), cancelled=cancelled.is_set)


SCRIPT = textwrap.dedent(
    """
    import sys
    from mask_detector_ros.inference import EngineOptions, create_session
    from gpu_stand_in import network

    options = EngineOptions(precision="fp32", engine_cache_dir=sys.argv[1])
    create_session(network(), "scale", "tensorrt", 1, options)
    print("serving")
    """
)


def start(folder):
    root = str(Path(__file__).parents[3])
    path = f"{os.environ['PYTHONPATH']}:{root}:{Path(__file__).parents[2] / 'support'}"
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(folder)],
        env={**os.environ, "PYTHONPATH": path},
        cwd=root,
        stdout=subprocess.PIPE,
        text=True,
    )


def children(pid):
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    return listed.read_text().split() if listed.exists() else []


def test_after_a_kill_in_the_middle_of_a_build_the_next_start_is_clean(gpu, tmp_path):
    gpu.set(build_seconds=600)
    process = start(tmp_path)
    wait_until(lambda: gpu.builds == 1)
    (builder,) = children(process.pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_until(lambda: has_ended(builder))
    gpu.set()
    output, _ = start(tmp_path).communicate()
    assert output == "serving\n"
    assert sorted(path.suffix for path in tmp_path.glob("*fp32*")) == [".engine", ".lock"]


def test_two_that_start_at_once_build_once(gpu, tmp_path):
    gpu.set(build_seconds=1)
    processes = [start(tmp_path) for _ in range(2)]
    assert [process.communicate()[0] for process in processes] == ["serving\n"] * 2
    assert gpu.builds == 1


def test_a_pycuda_that_does_not_load_is_told_before_an_engine_is_built(gpu, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pycuda.driver", None)
    options = EngineOptions(engine_cache_dir=str(tmp_path))
    with pytest.raises(BackendError, match=r"pycuda cannot be imported .* do: pip install --force"):
        create_session(network(), "scale", "tensorrt", 1, options)
    assert gpu.builds == 0
