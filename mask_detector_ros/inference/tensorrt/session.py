# SPDX-License-Identifier: Apache-2.0
"""TensorRT on an NVIDIA GPU: engines from the cache, or built; buffers, streams and graphs."""

from __future__ import annotations

import hashlib
import logging
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from mask_detector_ros.errors import BackendError, ImageError, ModelError
from mask_detector_ros.inference.base import GPU_BATCH, Array, EngineOptions, Session, TensorInfo
from mask_detector_ros.inference.gpu_parity import check_parity
from mask_detector_ros.inference.gpus import Gpu, find_gpu
from mask_detector_ros.inference.onnxruntime import OnnxRuntimeSession
from mask_detector_ros.inference.tensorrt.api import TensorRt
from mask_detector_ros.inference.tensorrt.builder import (
    BuildRequest,
    Shapes,
    build_in_process,
    is_quantised,
)
from mask_detector_ros.inference.tensorrt.cache import EngineCache, EngineKey, EngineMisfitError
from mask_detector_ros.inference.tensorrt.cuda import cuda_thread
from mask_detector_ros.inference.tensorrt.engine import Engine
from mask_detector_ros.inference.tensorrt.precision import precision_of
from mask_detector_ros.inference.tensorrt.profile import fits, make_profile, parity_shapes

REPORT_PERIOD = 5.0
"""Seconds between two log lines about a build."""

logger = logging.getLogger(__name__)


class NotFiniteError(BackendError):
    """A network returned infinity or NaN."""


def create(
    model: bytes, name: str, threads: int, options: EngineOptions, concurrent: bool
) -> TensorRtSession:
    """Load a serialised ONNX model; see `inference.create_session`.

    The engine comes from the cache. If it is missing, does not fit, does not load or differs from
    ONNX Runtime, it is built, which takes seconds to minutes. It runs in the GPU's thread.

    Raises:
        BackendError: TensorRT does not work on this machine.
        ModelError: the model cannot be built, or its engine gives different results.
    """
    api = TensorRt()
    gpu = find_gpu(options.device)
    api.check_gpu(gpu)
    reference = OnnxRuntimeSession(model, name, threads, concurrent=False)
    cache = EngineCache(options.engine_cache_dir)
    precision = precision_of((output.name for output in reference.outputs), options.precision)
    if precision != "auto":
        return _create(api, gpu, cache, model, reference, precision, options)
    try:
        return _create(api, gpu, cache, model, reference, "fp16", options)
    except ModelError as error:
        logger.warning("%s; using fp32", error)
        return _create(api, gpu, cache, model, reference, "fp32", options)


def _create(
    api: TensorRt,
    gpu: Gpu,
    cache: EngineCache,
    model: bytes,
    reference: Session,
    precision: str,
    options: EngineOptions,
) -> TensorRtSession:
    profile = make_profile(reference.inputs)
    digest = hashlib.sha256(model).hexdigest()
    key = EngineKey(
        reference.name,
        digest,
        api.flavour,
        api.version,
        gpu.name,
        gpu.capability,
        precision,
        profile,
    )
    with cache.lock(key, options.cancelled):
        why = "none is stored"
        try:
            plan = cache.read(key)
            if plan is not None:
                session = _load(api, gpu, plan, reference, key)
                _check(session, reference, key, model, quick=True)
                return session
        except (EngineMisfitError, ModelError) as error:
            why = str(error)
        logger.info("building the engine of %s (%s): %s", key.model, precision, why)
        start = time.monotonic()
        request = BuildRequest(
            key.model, precision == "fp16", profile, options.workspace_mb, gpu.number
        )
        plan = build_in_process(
            request, model, _Progress(key.model, options.progress), options.cancelled
        )
        session = _load(api, gpu, plan, reference, key)
        _check(session, reference, key, model, quick=False)
        path = cache.write(key, plan)
        logger.info(
            "built the engine of %s in %.0f s: %s",
            key.model,
            time.monotonic() - start,
            path or "in memory",
        )
        return session


class _Progress:
    """Passes every step to the listener, and logs progress from time to time."""

    def __init__(self, model: str, listener: Callable[[str], None]) -> None:
        self._model, self._listener = model, listener
        self._start = self._logged = time.monotonic()
        self._share = ""
        listener(f"building {model}")

    def __call__(self, share: float | None) -> None:
        if share is not None:
            self._share = f", {share:.0%}"
            self._listener(f"building {self._model}{self._share}")
        now = time.monotonic()
        # TensorRT before 10 gives no progress; report only that the build continues.
        if now - self._logged >= REPORT_PERIOD:
            self._logged = now
            logger.info("building %s%s, %.0f s so far", self._model, self._share, now - self._start)


def _load(
    api: TensorRt, gpu: Gpu, plan: bytes, reference: Session, key: EngineKey
) -> TensorRtSession:
    session = TensorRtSession(api, gpu, plan, reference, key.precision, key.profile)
    # ONNX Runtime does not always know output shapes; the comparison detects mismatches.
    same_inputs = set(session.inputs) == set(reference.inputs)
    if not same_inputs or _types(session.outputs) != _types(reference.outputs):
        raise EngineMisfitError(
            f"the engine of {key.model} takes {', '.join(map(str, session.inputs))} and gives"
            f" {', '.join(map(str, session.outputs))}; the model takes"
            f" {', '.join(map(str, reference.inputs))} and gives"
            f" {', '.join(map(str, reference.outputs))}"
        )
    return session


def _types(tensors: tuple[TensorInfo, ...]) -> dict[str, np.dtype[Any]]:
    return {tensor.name: tensor.dtype for tensor in tensors}


def _check(session: Session, reference: Session, key: EngineKey, model: bytes, quick: bool) -> None:
    shapes = parity_shapes(reference.inputs, key.profile)
    steps = shapes[:2] if quick else shapes
    try:
        check_parity(session, reference, steps, key.precision, is_quantised(model))
    except NotFiniteError as error:
        # During processing this is a fault of the machine; here it is a fault of the engine.
        raise ModelError(str(error)) from error


class TensorRtSession(Session):
    """An engine with reused buffers.

    All GPU objects belong to the GPU's thread (`cuda.CudaThread`). This class can be used and
    dropped in any thread; it passes the work on.

    Raises:
        EngineMisfitError: TensorRT rejects the plan.
    """

    backend = "tensorrt"
    batch_limit = GPU_BATCH

    def __init__(
        self,
        api: TensorRt,
        gpu: Gpu,
        plan: bytes,
        reference: Session,
        precision: str,
        profile: Mapping[str, Shapes],
    ) -> None:
        self.name, self.metadata = reference.name, reference.metadata
        self.device = f"{gpu.name} ({api}, {precision})"
        self._thread = cuda_thread(gpu.number)
        self._profile = profile
        self._engine = self._thread.call(lambda: Engine(api, self._thread, plan, reference.name))
        # Free it in the GPU's thread, whichever thread drops the session, before the process ends.
        self._finalizer = weakref.finalize(self, _free, self._thread.post, self._engine)
        self.inputs, self.outputs = self._engine.inputs, self._engine.outputs
        if not api.has_names:
            # Inputs of uint8 were built as float32 with the same values.
            self.inputs = tuple(_with_bytes(t, reference.inputs) for t in self.inputs)

    def _run(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        if not fits(arrays, self._profile):
            raise ImageError(_too_large(self.name, arrays, self._profile))
        results = self._thread.call(lambda: self._engine.run(arrays, self._profile))
        bad = [name for name, values in results.items() if not np.isfinite(values).all()]
        if bad:
            raise NotFiniteError(
                f"{self.name} on {self.device} gave infinity or NaN in {', '.join(bad)}; use "
                "precision:=fp32"
            )
        return results


def _with_bytes(tensor: TensorInfo, wanted: tuple[TensorInfo, ...]) -> TensorInfo:
    return next((t for t in wanted if replace(t, dtype=np.dtype(np.float32)) == tensor), tensor)


def _free(post: Callable[[Callable[[], None]], object], engine: Engine) -> None:
    post(engine.free)


def _too_large(name: str, arrays: Mapping[str, Array], profile: Mapping[str, Shapes]) -> str:
    shapes = ", ".join(str(arrays[tensor].shape) for tensor in profile)
    largest = ", ".join(str(most) for _, _, most in profile.values())
    return (
        f"{name} got {shapes}, its TensorRT engine takes at most {largest}: the image is too large"
        " for min_face_size; raise min_face_size or send smaller images"
    )
