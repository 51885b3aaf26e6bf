# SPDX-License-Identifier: Apache-2.0
"""Check whether ONNX Runtime's CUDA provider works here, and find the reason if not.

ONNX Runtime itself only prints the reason, and then falls back to the CPU or raises another error.
"""

import ctypes
import importlib.util
import platform
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mask_detector_ros.errors import BackendError
from mask_detector_ros.inference.gpus import driver_cuda_version

PROVIDER = "CUDAExecutionProvider"

_LIBRARY = "libonnxruntime_providers_cuda.so"
_CUDNN = "libcudnn.so.9"
"""ONNX Runtime opens it by this name for the first network that needs it, unless linked."""

_MISSING = re.compile(r"(lib[\w+-]+\.so[\w.]*): cannot open shared object file")

_OF_THE_DRIVER = re.compile(r"undefined symbol: cu[A-Z]\w+")
"""A function of the driver's library that is too old to have it."""

_LAST_FOR_CUDA = {12: "==1.26.*"}
"""The last onnxruntime-gpu on PyPI that is built for an older CUDA major version."""


def install_hint(release: str = "") -> str:
    """The command that installs ONNX Runtime with its CUDA provider on this machine.

    Args:
        release: a pip version specifier; empty for the newest.
    """
    if Path("/etc/nv_tegra_release").exists():
        return (
            "pip uninstall -y onnxruntime, then install NVIDIA's onnxruntime-gpu wheel for this"
            " JetPack (docs/how-to/gpus.md)"
        )
    if platform.machine() != "x86_64" or platform.system() != "Linux":
        return "install an onnxruntime-gpu that is built for this machine"
    # Both packages write the folder onnxruntime: the CPU package must not come last.
    install = f'pip install "onnxruntime-gpu[cuda,cudnn]{release}"'
    return f"pip uninstall -y onnxruntime onnxruntime-gpu && {install}"


def provider_library() -> Path | None:
    """The CUDA provider's library in the installed onnxruntime; None if there is none."""
    spec = importlib.util.find_spec("onnxruntime")
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / "capi" / _LIBRARY
    return path if path.exists() else None


def check_provider() -> None:
    """Load the CUDA provider and the libraries that it needs, to check that it works.

    Raises:
        BackendError: it does not work here; the message gives the reason and the remedy.
    """
    path = provider_library()
    if path is None:
        raise BackendError(f"backend cuda is not installed; do: {install_hint()}")
    try:
        import onnxruntime
    except (ImportError, OSError) as error:
        raise BackendError(
            f"onnxruntime-gpu cannot be imported ({error}); do: {install_hint()}"
        ) from error
    if PROVIDER not in onnxruntime.get_available_providers():
        raise BackendError(
            f"onnxruntime for the CPU was installed over onnxruntime-gpu; do: {install_hint()}"
        )
    needed, driver = _built_for(), driver_cuda_version()
    if needed is not None and driver[0] < needed[0]:
        last = _LAST_FOR_CUDA.get(driver[0])
        raise BackendError(
            f"the driver supports CUDA {_text(driver)}, but the installed onnxruntime-gpu is "
            f"built for CUDA {_text(needed)}; update the driver, or "
            + (f"do: {install_hint(last)}" if last else "use backend:=onnxruntime")
        )
    provider = _load(str(path))
    if not _is_loaded("libcudnn"):
        _load(_CUDNN)
    _check_runtime(provider)


def _check_runtime(provider: Any) -> None:
    """Ask the CUDA runtime that the provider is linked with for devices. ONNX Runtime does the same
    when it loads a network, but reports only "Parse Failed"."""
    if not hasattr(provider, "cudaGetDeviceCount"):
        # The runtime is linked statically.
        return
    code = provider.cudaGetDeviceCount(ctypes.byref(ctypes.c_int()))
    if code:
        provider.cudaGetErrorString.restype = ctypes.c_char_p
        reason = provider.cudaGetErrorString(code).decode(errors="replace")
        raise BackendError(
            f"CUDA does not start (cudaGetDeviceCount: {reason}); check with nvidia-smi that the "
            "driver is loaded, matches its libraries and is new enough for the installed "
            "onnxruntime-gpu, or use backend:=onnxruntime"
        )


def _is_loaded(library: str) -> bool:
    """Whether this process has loaded a library, for example another package's."""
    return library in Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")


def _load(library: str) -> Any:
    """Load a library, after its missing dependencies from pip packages in this environment."""
    loaded: set[str] = set()
    while True:
        try:
            return ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)
        except OSError as error:
            found = _MISSING.search(str(error))
            missing = found[1] if found else ""
            place = next(_wheels_with(missing), None) if missing not in loaded else None
            if not missing or place is None:
                raise BackendError(_failure(library, missing, error)) from error
            loaded.add(missing)
            if missing == library:
                library = str(place)
            else:
                _load(str(place))


def _failure(library: str, missing: str, error: OSError) -> str:
    if symbol := _OF_THE_DRIVER.search(str(error)):
        return (
            f"the driver is too old for the installed onnxruntime-gpu ({symbol[0]}); update it, or "
            "install an older onnxruntime-gpu"
        )
    if not missing:
        return f"{Path(library).name} cannot be loaded ({error}); do: {install_hint()}"
    if missing.startswith("libcuda.so"):
        return f"{missing} is missing: install the driver of the GPU"
    what = "cuDNN" if missing.startswith("libcudnn") else "CUDA"
    return (
        f"{missing} of {what} is missing, which the installed onnxruntime-gpu needs; do: "
        f"{install_hint()} (or install {what} in the matching major version)"
    )


def _wheels_with(name: str) -> Iterator[Path]:
    """The path of a library in NVIDIA's Python packages."""
    spec = importlib.util.find_spec("nvidia")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        yield from sorted(Path(folder).glob(f"*/lib/{name}"))


def _built_for() -> tuple[int, int] | None:
    """The CUDA version that the installed onnxruntime is built for; None if unknown."""
    try:
        from onnxruntime.capi import build_and_package_info as info

        major, minor = str(info.cuda_version).split(".")[:2]
        return int(major), int(minor)
    except (ImportError, AttributeError, ValueError):
        return None


def _text(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
