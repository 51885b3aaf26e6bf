# SPDX-License-Identifier: Apache-2.0
"""Build a TensorRT engine from ONNX in a separate process.

A build takes minutes and much memory. In a separate process, killing it (by the system or by us)
loses only the build. The builder reads a request and the model from standard input and writes lines
of JSON to standard output; the plan follows the last one:

    python -m mask_detector_ros.inference.tensorrt.builder
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from mask_detector_ros.errors import BackendError, MaskDetectorError, ModelError
from mask_detector_ros.inference.fixed_slots import has_free_slots, to_fixed_slots
from mask_detector_ros.inference.options import WORKSPACE_MB
from mask_detector_ros.inference.tensorrt.api import Report, TensorRt

Progress = Callable[[float | None], None]

CANCEL_POLL = 0.1
"""Seconds between two checks whether the build was cancelled."""

Shapes = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
Profile = dict[str, Shapes]
"""Minimum, optimum and maximum shape of each input with dynamic dimensions."""


@dataclass(frozen=True)
class BuildRequest:
    """A request to build an engine.

    Attributes:
        name: the model's name in messages.
        target: GPU architecture to build for, such as `SM86`; empty for this machine's GPU.
    """

    name: str
    half: bool
    profile: Profile
    workspace_mb: int = WORKSPACE_MB
    device: int = 0
    target: str = ""


def is_quantised(model: bytes) -> bool:
    """Whether an ONNX file to build an engine from is quantised to int8.

    Searches for the operation's name, so that the package onnx, which a robot may lack, is not
    needed.
    """
    return b"QuantizeLinear" in model


class BuildCancelledError(BackendError):
    """The engine build was cancelled: its result is no longer needed."""


def build_in_process(
    request: BuildRequest,
    model: bytes,
    progress: Progress = lambda share: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> bytes:
    """Build a TensorRT engine from ONNX in a separate process and wait for it.

    Args:
        progress: called from another thread with fractions from 0 to 1, if this TensorRT reports
            progress, and with None several times a second.
        cancelled: polled; the build stops when it returns True.

    Raises:
        ModelError: TensorRT rejects the model.
        BackendError: TensorRT is not usable, or the build was killed.
        BuildCancelledError: `cancelled` returned True.
    """
    command = [sys.executable, "-m", "mask_detector_ros.inference.tensorrt.builder"]
    root = str(Path(__file__).absolute().parents[3])
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": _visible(request)}
    if not environment["CUDA_VISIBLE_DEVICES"]:
        del environment["CUDA_VISIBLE_DEVICES"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        stop = _watch(child, progress, cancelled)
        try:
            _send(child.stdin, request, model)
            plan, errors, kind = _receive(child.stdout, progress)
        except BaseException:
            # Leaving `Popen` would wait for the build, which takes minutes; also after Ctrl+C.
            child.kill()
            raise
        finally:
            stop.set()
        code = child.wait()
    if plan is not None:
        return plan
    if cancelled():
        raise BuildCancelledError(f"the build of {request.name} was cancelled")
    if code == -signal.SIGKILL:
        raise BackendError(
            f"the build of {request.name} was killed, probably because memory ran out; close "
            "other programs, add swap, or build with less: convert_to_trt.onnx_to_engine "
            "--workspace 128"
        )
    reason = "; ".join(errors[-3:]) or f"the builder ended with {code}"
    error = ModelError if kind == "model" else BackendError
    raise error(f"TensorRT cannot build {request.name}: {reason}")


def _visible(request: BuildRequest) -> str:
    """Environment in which the builder sees only its GPU; TensorRT has no such setting."""
    outer = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    if not request.device:
        return outer
    visible = outer.split(",") if outer else []
    return visible[request.device] if request.device < len(visible) else str(request.device)


def _watch(
    child: subprocess.Popen[bytes], progress: Progress, cancelled: Callable[[], bool]
) -> threading.Event:
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(CANCEL_POLL):
            progress(None)
            if cancelled():
                child.kill()
                return

    threading.Thread(target=watch, name="build-watcher", daemon=True).start()
    return stop


def _send(stream: IO[bytes], request: BuildRequest, model: bytes) -> None:
    header = {**asdict(request), "size": len(model), "parent": os.getpid()}
    try:
        stream.write(json.dumps(header).encode() + b"\n" + model)
        stream.close()
    except BrokenPipeError:
        pass  # The process has ended; its output gives the reason.


def _receive(stream: IO[bytes], progress: Progress) -> tuple[bytes | None, list[str], str]:
    errors: list[str] = []
    kind = ""
    while line := stream.readline():
        try:
            message = json.loads(line)
        except ValueError:
            continue  # Some library printed it.
        if "progress" in message:
            progress(message["progress"])
        elif "error" in message:
            errors.append(message["error"])
            kind = message.get("kind", kind)
        elif "plan" in message:
            plan = stream.read(message["plan"])
            return (plan if len(plan) == message["plan"] else None), errors, kind
    return None, errors, kind


# In the builder process


def build(api: TensorRt, request: BuildRequest, model: bytes, report: Report) -> bytes:
    """Build a TensorRT engine from ONNX in this process.

    TensorRT-RTX must not build twice in a process: after a failed build the next engine was many
    times too big.

    Raises:
        ModelError: TensorRT rejects the model; the message gives its reasons.
        BackendError: TensorRT accepted the model but failed to build it.
    """
    errors: list[str] = []

    def keep(kind: str, value: Any) -> None:
        if kind == "error":
            errors.append(str(value))
        else:
            report(kind, value)

    if has_free_slots(model):
        model = to_fixed_slots(model, request.name)
    quantised = is_quantised(model)
    if api.is_rtx and not quantised:
        from mask_detector_ros.inference.tensorrt.typed_onnx import to_plain_layers

        model = to_plain_layers(model, request.name)
    if request.half and api.is_strongly_typed and not quantised:
        from mask_detector_ros.inference.tensorrt.typed_onnx import to_half

        model = to_half(model, request.name)
    if not api.has_names:
        # TensorRT does not support uint8 here.
        from mask_detector_ros.inference.tensorrt.typed_onnx import to_float_inputs

        model = to_float_inputs(model, request.name)
    trt = api.trt
    logger = api.logger(keep)
    builder = trt.Builder(logger)
    network = builder.create_network(api.network_flags())
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(model):
        reasons = [str(parser.get_error(i)) for i in range(parser.num_errors)] or errors
        raise ModelError("; ".join(" ".join(r.split())[:300] for r in reasons) or "cannot parse it")
    config = builder.create_builder_config()
    api.set_workspace(config, request.workspace_mb)
    if request.profile:
        profile = builder.create_optimization_profile()
        for name, (least, usual, most) in request.profile.items():
            profile.set_shape(name, least, usual, most)
        config.add_optimization_profile(profile)
    api.set_precision(config, request.half, quantised)
    if request.target:
        api.set_target(config, request.target)
    api.watch(config, report)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise BackendError("; ".join(errors[-3:]) or "the builder gave no reason")
    return bytes(plan)


def _die_with_parent(parent: int) -> None:
    """Make the kernel kill this process when its parent ends for any reason (Linux)."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)


def main() -> int:
    """Serve one request; return the exit code."""
    answers = os.fdopen(os.dup(1), "wb")
    # Library output must not mix with the answers.
    os.dup2(2, 1)

    def answer(**message: Any) -> None:
        answers.write(json.dumps(message).encode() + b"\n")
        answers.flush()

    header = json.loads(sys.stdin.buffer.readline())
    size, parent = header.pop("size"), header.pop("parent")
    if sys.platform == "linux":
        _die_with_parent(parent)
    model = sys.stdin.buffer.read(size)
    header["profile"] = {
        name: tuple(map(tuple, shapes)) for name, shapes in header["profile"].items()
    }
    try:
        api = TensorRt()
        plan = build(
            api,
            BuildRequest(**header),
            model,
            lambda kind, value: answer(**{kind: value}),
        )
    except MaskDetectorError as error:
        answer(error=str(error), kind="model" if isinstance(error, ModelError) else "backend")
        return 1
    answer(plan=len(plan))
    answers.write(plan)
    answers.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
