# SPDX-License-Identifier: Apache-2.0
"""The TensorRT API: every difference between TensorRT 8.0 to 11 and TensorRT-RTX, in one place.

From 8.5 on tensors are addressed by name, before (JetPack 4) by binding index: see contexts.py.
"""

import importlib
import importlib.util
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mask_detector_ros.errors import BackendError
from mask_detector_ros.inference.gpus import Gpu
from mask_detector_ros.inference.session import TensorInfo
from mask_detector_ros.inference.tensorrt.contexts import IndexedContext, engine_tensors

MODULES = ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings")
"""Import names of NVIDIA's packages, in the order of trial."""

OLDEST, NAMED_TENSORS = (8, 0), (8, 5)
STRONGLY_TYPED = (10, 0)
"""First version in which the types of the ONNX file set the precision. TensorRT 11 and RTX support
nothing else, and 10 is treated the same; version 8 uses builder flags."""

_OLDEST_GPUS = (((10, 5), (7, 5)), ((10, 0), (7, 0)), ((0, 0), (5, 0)))
"""Oldest supported compute capability by TensorRT version, from the support matrices of 8.2 to 8.6,
10.0, and 10.5, which dropped Volta."""

_OLDEST_FOR_GPUS = (((10, 0), (10, 8)), ((8, 9), (8, 5)), ((0, 0), OLDEST))
"""Oldest TensorRT version by compute capability, from the same matrices and that of 10.8."""

Report = Callable[[str, Any], None]
"""Called with `progress` and a fraction from 0 to 1, or `error` or `warning` and a text."""


class UnsupportedGpuError(BackendError):
    """The installed TensorRT has no kernels for a GPU."""


def installed_module() -> str | None:
    """The import name of the installed TensorRT API; None if there is none."""
    return next((name for name in MODULES if importlib.util.find_spec(name) is not None), None)


def missing_packages() -> tuple[str, ...]:
    """Which of the packages with the TensorRT API and pycuda are not installed."""
    tensorrt = () if installed_module() else ("tensorrt",)
    return tensorrt if importlib.util.find_spec("pycuda") else (*tensorrt, "pycuda")


def install_hint() -> str:
    """The command that installs what is missing of the TensorRT API and pycuda on this machine."""
    missing = missing_packages() or ("tensorrt", "pycuda")
    if Path("/etc/nv_tegra_release").exists():
        # On a Jetson TensorRT is part of the system; pip has no matching package.
        system = "sudo apt-get install python3-libnvinfer python3-pip cuda-nvcc libcurand-dev"
        commands = {"tensorrt": system, "pycuda": "CUDA_ROOT=/usr/local/cuda pip3 install pycuda"}
        return " && ".join(commands[name] for name in missing)
    if platform.machine() != "x86_64" or platform.system() != "Linux":
        return "install TensorRT and pycuda of the board's maker, then try again"
    return f"pip install {' '.join(missing)}"


def is_supported(tensorrt: tuple[int, ...], capability: tuple[int, int]) -> bool:
    """Whether a TensorRT version, by its API, has kernels for a compute capability."""
    oldest_gpu = next(least for since, least in _OLDEST_GPUS if tensorrt >= since)
    oldest = next(least for since, least in _OLDEST_FOR_GPUS if capability >= since)
    return capability >= oldest_gpu and tensorrt >= oldest


class TensorRt:
    """An imported TensorRT.

    Attributes:
        flavour: `tensorrt` or `tensorrt_rtx`; engines of one do not load in the other.
        version: the library's version, for example 10.3.0.

    Raises:
        BackendError: it is missing, broken, or too old.
    """

    def __init__(self) -> None:
        name = installed_module()
        if name is None:
            raise BackendError(f"TensorRT is not installed; do: {install_hint()}")
        try:
            self.trt: Any = importlib.import_module(name)
        except (ImportError, OSError) as error:
            raise BackendError(
                f"{name} is installed but cannot be imported ({error}); it must match this "
                f"machine's CUDA and Python: {install_hint()}"
            ) from error
        self.flavour = "tensorrt_rtx" if "rtx" in name else "tensorrt"
        self.version = str(self.trt.__version__)
        self._number = tuple(int(part) for part in self.version.split(".")[:2])
        if not self.is_rtx and self._number < OLDEST:
            raise BackendError(
                f"TensorRT {self.version} is too old; the oldest supported version is 8.0 "
                "(JetPack 4.6); update JetPack or TensorRT, or use backend:=onnxruntime"
            )

    def __str__(self) -> str:
        return f"{'TensorRT-RTX' if self.is_rtx else 'TensorRT'} {self.version}"

    @property
    def is_rtx(self) -> bool:
        """Whether this API is TensorRT-RTX."""
        return self.flavour == "tensorrt_rtx"

    @property
    def is_strongly_typed(self) -> bool:
        """Whether this TensorRT API takes the precision from the types of the ONNX file."""
        return self.is_rtx or self._number >= STRONGLY_TYPED

    def check_gpu(self, gpu: Gpu) -> None:
        """Check that the TensorRT of this API has kernels for a GPU.

        Raises:
            UnsupportedGpuError: it does not.
        """
        if self.is_rtx:
            # The library lists the targets that it can build for.
            names = self.trt.ComputeCapability.__members__
            serves = "SM{}{}".format(*gpu.version) in names
        else:
            serves = is_supported(self._number, gpu.version)
        if not serves:
            raise UnsupportedGpuError(
                f"{self} does not support compute capability {gpu.capability}"
            )

    @property
    def has_names(self) -> bool:
        """Whether this TensorRT API addresses tensors by name."""
        return self.is_rtx or self._number >= NAMED_TENSORS

    # Building

    def network_flags(self) -> int:
        """The flags that this TensorRT API needs in `Builder.create_network`."""
        flags = self.trt.NetworkDefinitionCreationFlag
        flag = flags.STRONGLY_TYPED if self.is_strongly_typed else flags.EXPLICIT_BATCH
        return 1 << int(flag)

    def set_precision(self, config: Any, half: bool, quantised: bool) -> None:
        """Set the builder's precision flags through this TensorRT API, unless the ONNX file sets
        the precision."""
        flags = self.trt.BuilderFlag
        # TF32 has only FP16's mantissa, so it must not replace FP32.
        config.clear_flag(flags.TF32)
        if self.is_strongly_typed:
            return
        if half:
            config.set_flag(flags.FP16)
        if quantised:
            config.set_flag(flags.INT8)

    def set_workspace(self, config: Any, megabytes: int) -> None:
        """Limit the builder's scratch memory through this TensorRT API."""
        if hasattr(self.trt, "MemoryPoolType"):
            config.set_memory_pool_limit(self.trt.MemoryPoolType.WORKSPACE, megabytes << 20)
        else:
            config.max_workspace_size = megabytes << 20

    def set_target(self, config: Any, target: str) -> None:
        """Set another GPU architecture to build for, such as `SM86`; only the API of TensorRT-RTX
        supports this.

        Raises:
            BackendError: this TensorRT does not support it, or does not know the architecture.
        """
        known = getattr(self.trt, "ComputeCapability", None)
        if known is None:
            raise BackendError(
                f"{self} builds only for the GPU of this machine; leave out --target and run this "
                "on the machine that will use the engine"
            )
        names = [name for name in known.__members__ if name.startswith("SM")]
        if target not in names:
            raise BackendError(f"{self} has no target {target!r}; it has {', '.join(names)}")
        config.num_compute_capabilities = 1
        config.set_compute_capability(known.__members__[target], 0)

    def watch(self, config: Any, report: Report) -> None:
        """Report progress during a build; the API before TensorRT 10 cannot."""
        if not hasattr(self.trt, "IProgressMonitor"):
            return

        class Monitor(self.trt.IProgressMonitor):  # type: ignore[misc,name-defined]
            """Follows the outermost phase, the only one with a known number of steps."""

            def __init__(self) -> None:
                super().__init__()
                self.phases: list[tuple[str, int]] = []

            def phase_start(self, name: str, parent: str | None, steps: int) -> None:
                self.phases.append((name, max(steps, 1)))

            def step_complete(self, name: str, step: int) -> bool:
                if self.phases and self.phases[0][0] == name:
                    report("progress", min((step + 1) / self.phases[0][1], 1.0))
                return True

            def phase_finish(self, name: str) -> None:
                self.phases = [phase for phase in self.phases if phase[0] != name]

        # The builder does not keep the monitor alive.
        self._monitor = Monitor()
        config.progress_monitor = self._monitor

    def logger(self, report: Report) -> Any:
        """A logger of this TensorRT API that reports warnings and errors."""
        severity = self.trt.ILogger.Severity
        kinds = {
            severity.INTERNAL_ERROR: "error",
            severity.ERROR: "error",
            severity.WARNING: "warning",
        }

        class Logger(self.trt.ILogger):  # type: ignore[misc,name-defined]
            def __init__(self) -> None:
                super().__init__()

            def log(self, severity: Any, message: str) -> None:
                if severity in kinds:
                    report(kinds[severity], message)

        return Logger()

    # Running

    def tensors(self, engine: Any) -> tuple[tuple[TensorInfo, ...], tuple[TensorInfo, ...]]:
        """The inputs and outputs of an engine, read through this TensorRT API."""
        return engine_tensors(engine, self.trt.TensorIOMode.INPUT if self.has_names else None)

    def scratch_size(self, engine: Any) -> int:
        """Bytes of GPU memory that a context needs while it runs, read through this TensorRT
        API."""
        has_v2 = hasattr(engine, "device_memory_size_v2")
        return int(engine.device_memory_size_v2 if has_v2 else engine.device_memory_size)

    def create_context(self, engine: Any, scratch: int, size: int) -> Any:
        """Create an execution context with the given scratch memory through this TensorRT API."""
        if hasattr(self.trt, "ExecutionContextAllocationStrategy"):
            strategy = self.trt.ExecutionContextAllocationStrategy.USER_MANAGED
            context = engine.create_execution_context(strategy)
        else:
            context = engine.create_execution_context_without_device_memory()
        if context is None:
            raise BackendError(f"{self} could not make an execution context: out of GPU memory?")
        if hasattr(context, "set_device_memory"):
            context.set_device_memory(scratch, size)
        else:
            context.device_memory = scratch
        return context if self.has_names else IndexedContext(context, engine)
