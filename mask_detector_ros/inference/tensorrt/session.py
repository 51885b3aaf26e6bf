# SPDX-License-Identifier: Apache-2.0
"""TensorRT on an NVIDIA GPU: engines from the cache, or built; buffers, streams and graphs."""

from __future__ import annotations

import hashlib
import logging
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from mask_detector_ros.errors import BackendError, ImageError, ModelError
from mask_detector_ros.inference.gpu_parity import check_parity
from mask_detector_ros.inference.gpus import Gpu, find_gpu
from mask_detector_ros.inference.onnxruntime import OnnxRuntimeSession
from mask_detector_ros.inference.options import EngineOptions
from mask_detector_ros.inference.session import GPU_BATCH, Array, Session
from mask_detector_ros.inference.tensorrt.api import TensorRt
from mask_detector_ros.inference.tensorrt.builder import (
    BuildRequest,
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
    """Load a serialised ONNX model in TensorRT; see `inference.create_session`.

    The engine comes from the cache. If it is missing, does not fit, does not load or differs from
    ONNX Runtime, it is built, which takes seconds to minutes. It runs in the GPU's thread.

    Raises:
        BackendError: TensorRT does not work on this machine.
        ModelError: the model cannot be built, or its engine gives different results.
    """
    api = TensorRt()
    gpu = find_gpu(options.device)
    api.check_gpu(gpu)
    # Before a build of minutes, not after it.
    cuda_thread(gpu.number)
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
    profile, digest = make_profile(reference.inputs), hashlib.sha256(model).hexdigest()
    library, device = (api.flavour, api.version), (gpu.name, gpu.capability)
    key = EngineKey(reference.name, digest, *library, *device, precision, profile)

    def load(plan: bytes, quick: bool) -> TensorRtSession:
        session = TensorRtSession(api, gpu, plan, reference, key)
        _check(session, reference, key, is_quantised(model), quick)
        return session

    with cache.lock(key, options.cancelled):
        why = "none is stored"
        try:
            if (plan := cache.read(key)) is not None:
                return load(plan, quick=True)
        except (EngineMisfitError, ModelError) as error:
            why = str(error)
        logger.info("building the engine of %s (%s): %s", key.model, precision, why)
        start = time.monotonic()
        request = BuildRequest(
            key.model, precision == "fp16", profile, options.workspace_mb, gpu.number
        )
        progress = _Progress(key.model, options.progress)
        plan = build_in_process(request, model, progress, options.cancelled)
        session = load(plan, quick=False)
        path, seconds = cache.write(key, plan), time.monotonic() - start
        logger.info("built the engine of %s in %.0f s: %s", key.model, seconds, path or "in memory")
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


def _check(
    session: Session, reference: Session, key: EngineKey, quantised: bool, quick: bool
) -> None:
    """Compare an engine with ONNX Runtime.

    Raises:
        EngineMisfitError: it has other tensors.
        ModelError: it gives different results.
    """
    # ONNX Runtime does not always know output shapes; the comparison detects mismatches.
    types, wanted = ({t.name: t.dtype for t in s.outputs} for s in (session, reference))
    if set(session.inputs) != set(reference.inputs) or types != wanted:
        raise EngineMisfitError(
            f"the engine of {key.model} takes {', '.join(map(str, session.inputs))} and gives"
            f" {', '.join(map(str, session.outputs))}; the model takes"
            f" {', '.join(map(str, reference.inputs))} and gives"
            f" {', '.join(map(str, reference.outputs))}"
        )
    shapes = parity_shapes(reference.inputs, key.profile)
    try:
        check_parity(session, reference, shapes[: 2 if quick else None], key.precision, quantised)
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
        self, api: TensorRt, gpu: Gpu, plan: bytes, reference: Session, key: EngineKey
    ) -> None:
        self.name, self.metadata = reference.name, reference.metadata
        self.device = f"{gpu.name} ({api}, {key.precision})"
        self._thread = cuda_thread(gpu.number)
        self._profile = key.profile
        self._engine = self._thread.call(lambda: Engine(api, self._thread, plan, reference.name))
        # Free it in the GPU's thread, whichever thread drops the session, before the process ends.
        self._finalizer = weakref.finalize(self, self._thread.post, self._engine.free)
        self.inputs, self.outputs = self._engine.inputs, self._engine.outputs
        if not api.has_names:
            # Inputs of uint8 were built as float32 with the same values.
            given = {replace(t, dtype=np.dtype(np.float32)): t for t in reference.inputs}
            self.inputs = tuple(given.get(tensor, tensor) for tensor in self.inputs)

    def _run(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        if not fits(arrays, self._profile):
            shapes = ", ".join(str(arrays[tensor].shape) for tensor in self._profile)
            largest = ", ".join(str(most) for _, _, most in self._profile.values())
            raise ImageError(
                f"{self.name} got {shapes}, its TensorRT engine takes at most {largest}: the image"
                " is too large for min_face_size; raise min_face_size or send smaller images"
            )
        results = self._thread.call(lambda: self._engine.run(arrays, self._profile))
        bad = [name for name, values in results.items() if not np.isfinite(values).all()]
        if bad:
            raise NotFiniteError(
                f"{self.name} on {self.device} gave infinity or NaN in {', '.join(bad)}; use "
                "precision:=fp32"
            )
        return results
