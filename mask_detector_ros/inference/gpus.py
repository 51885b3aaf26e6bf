# SPDX-License-Identifier: Apache-2.0
"""Find the NVIDIA GPUs of this machine through the driver's library, libcuda."""

import ctypes
import os
from dataclasses import dataclass
from typing import Any

from mask_detector_ros.errors import BackendError

_NAME_LENGTH = 256
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76
"""`CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR` and `_MINOR` of cuda.h."""

_VISIBLE = "CUDA_VISIBLE_DEVICES"
"""Environment variable that hides GPUs from programs."""

_NO_DEVICE = 100
_REASONS = {
    # CUresult values of cuda.h that cuInit and the device functions return.
    2: "out of memory",
    3: "CUDA was shut down",
    34: "libcuda is a stub: the driver is not installed",
    46: "the device is unavailable: another process may hold it exclusively",
    101: "invalid device",
    103: "the GPU was lost",
    802: "the GPU's fabric is not ready",
    803: "the driver and its library have different versions: reboot, or reload the driver",
    804: "forward compatibility is not supported on this GPU",
    999: "unknown error: look for Xid with dmesg",
}


@dataclass(frozen=True)
class Gpu:
    """A GPU: its index, its name, and its compute capability such as 8.7."""

    number: int
    name: str
    capability: str

    @property
    def version(self) -> tuple[int, int]:
        """The GPU's compute capability as numbers."""
        major, minor = self.capability.split(".")
        return int(major), int(minor)


def find_gpu(number: int) -> Gpu:
    """Find the NVIDIA GPU with this index through libcuda.

    Raises:
        BackendError: there is no such GPU, or no driver.
    """
    cuda = _initialised()
    count = ctypes.c_int()
    _check(cuda, "cuDeviceGetCount", ctypes.byref(count))
    if count.value == 0:
        raise BackendError(_no_device())
    if not 0 <= number < count.value:
        raise BackendError(
            f"device {number} does not exist: the driver shows {count.value} CUDA "
            f"device{'s' if count.value > 1 else ''}, counted from 0; give another device"
            f"{', or check CUDA_VISIBLE_DEVICES' if _VISIBLE in os.environ else ''}"
        )
    device = ctypes.c_int()
    _check(cuda, "cuDeviceGet", ctypes.byref(device), number)
    name = ctypes.create_string_buffer(_NAME_LENGTH)
    _check(cuda, "cuDeviceGetName", name, _NAME_LENGTH, device)
    values = []
    for attribute in (_CAPABILITY_MAJOR, _CAPABILITY_MINOR):
        value = ctypes.c_int()
        _check(cuda, "cuDeviceGetAttribute", ctypes.byref(value), attribute, device)
        values.append(value.value)
    return Gpu(number, name.value.decode(errors="replace"), f"{values[0]}.{values[1]}")


def driver_cuda_version() -> tuple[int, int]:
    """The newest CUDA version that the installed GPU driver supports.

    Raises:
        BackendError: there is no driver.
    """
    version = ctypes.c_int()
    _check(_initialised(), "cuDriverGetVersion", ctypes.byref(version))
    return version.value // 1000, version.value % 1000 // 10


def load_libcuda() -> Any:
    """Load the GPU driver's library, libcuda.

    Raises:
        BackendError: it is not installed.
    """
    try:
        return ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise BackendError(
            f"no NVIDIA driver was found ({error}); install it and check it with nvidia-smi "
            "(start a container with --gpus all), or use backend:=onnxruntime"
        ) from error


def _initialised() -> Any:
    cuda = load_libcuda()
    _check(cuda, "cuInit", 0)
    return cuda


def _check(cuda: Any, name: str, *arguments: Any) -> None:
    try:
        code = getattr(cuda, name)(*arguments)
    except AttributeError as error:
        raise BackendError(
            f"libcuda.so.1 is not the library of an NVIDIA driver ({name} is missing); install "
            "the driver and check it with nvidia-smi, or use backend:=onnxruntime"
        ) from error
    if code == _NO_DEVICE:
        raise BackendError(_no_device())
    if code:
        raise BackendError(
            f"CUDA does not start ({name}: {_REASONS.get(code, f'error {code}')}); check with "
            "nvidia-smi that the driver is loaded and matches, or use backend:=onnxruntime"
        )


def _no_device() -> str:
    if _VISIBLE in os.environ:
        return (
            f"no CUDA device was found: {_VISIBLE} is {os.environ[_VISIBLE]!r}, which may hide it; "
            "set it to a GPU that nvidia-smi -L lists, or use backend:=onnxruntime"
        )
    return (
        "no CUDA device was found: the NVIDIA driver is installed but shows no GPU; check with "
        "nvidia-smi that it is there (start a container with --gpus all), or use "
        "backend:=onnxruntime"
    )
