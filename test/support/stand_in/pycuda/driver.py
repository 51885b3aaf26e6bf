# SPDX-License-Identifier: Apache-2.0
"""A strict stand-in of the part of pycuda.driver that the library uses: contexts belong to threads,
copies and kernels run when a stream is synchronised, and memory must exist."""

import ctypes
import itertools
import threading
import weakref

import numpy as np
from fake_gpu import settings


class Error(Exception):
    pass


class LogicError(Error):
    pass


_local = threading.local()
_numbers = itertools.count(1)
streams = weakref.WeakValueDictionary()
allocations = {}
"""Size of the live GPU memory by address."""
pinned = {}
"""The live pinned host memory by address."""


def require_context():
    if not getattr(_local, "contexts", None):
        raise LogicError("invalid device context")


def init():
    if settings()["gpus"] is None:
        raise LogicError("cuInit failed: no CUDA-capable device is detected")


class Device:
    def __init__(self, number):
        self.number = number

    @staticmethod
    def count():
        return settings()["gpus"]

    def name(self):
        return settings()["gpu"]

    def compute_capability(self):
        return tuple(settings()["capability"])

    def retain_primary_context(self):
        return Context()


class Context:
    def push(self):
        _local.contexts = [*getattr(_local, "contexts", []), self]

    def pop(self):
        _local.contexts.remove(self)


class Stream:
    def __init__(self):
        require_context()
        self.handle = next(_numbers)
        self.work = []
        self.recorded = None
        streams[self.handle] = self

    def put(self, job):
        (self.work if self.recorded is None else self.recorded).append(job)

    def synchronize(self):
        require_context()
        assert self.recorded is None, "synchronize while a graph is recorded"
        work, self.work = self.work, []
        for job in work:
            job()


class DeviceAllocation:
    def __init__(self, size):
        require_context()
        self._memory = np.full(size, 0xA5, np.uint8)
        self._address = self._memory.ctypes.data
        allocations[self._address] = size
        weakref.finalize(self, _free, self._address).atexit = False

    def __int__(self):
        return self._address


def _free(address):
    require_context()
    del allocations[address]


def mem_alloc(size):
    limit = settings()["memory"]
    if limit is not None and sum(allocations.values()) + size > limit:
        raise Error("cuMemAlloc failed: out of memory")
    return DeviceAllocation(size)


def pagelocked_empty(shape, dtype):
    require_context()
    return np.full(shape, 0x5A, dtype)


def check_memory(address, size):
    if allocations.get(address, -1) < size:
        raise LogicError(f"an illegal memory access was encountered ({size} bytes at {address})")


def memcpy_htod_async(dest, src, stream):
    require_context()
    check_memory(int(dest), src.nbytes)
    address, size = int(dest), src.nbytes
    stream.put(lambda: ctypes.memmove(address, src.ctypes.data, size))


def memcpy_dtoh_async(dest, src, stream):
    require_context()
    check_memory(int(src), dest.nbytes)
    address = int(src)
    stream.put(lambda: ctypes.memmove(dest.ctypes.data, address, dest.nbytes))


def memcpy_dtod_async(dest, src, size, stream):
    require_context()
    for address in (dest, src):
        check_memory(address, size)
    stream.put(lambda: ctypes.memmove(dest, src, size))


def mem_get_info():
    require_context()
    total = 1 << 30
    return total - sum(allocations.values()), total


class FakeDriver:
    """The functions of libcuda.so.1 that say which GPUs there are."""

    def cuInit(self, flags):  # noqa: N802
        return 100 if settings()["gpus"] is None else 0

    def cuDriverGetVersion(self, version):  # noqa: N802
        version._obj.value = settings()["driver"]
        return 0

    def cuDeviceGetCount(self, count):  # noqa: N802
        count._obj.value = settings()["gpus"]
        return 0

    def cuDeviceGet(self, device, number):  # noqa: N802
        device._obj.value = number
        return 0

    def cuDeviceGetName(self, name, length, device):  # noqa: N802
        name.value = settings()["gpu"].encode()
        return 0

    def cuDeviceGetAttribute(self, value, attribute, device):  # noqa: N802
        value._obj.value = settings()["capability"][{75: 0, 76: 1}[attribute]]
        return 0

    def cuMemHostAlloc(self, address, size, flags):  # noqa: N802
        if settings()["pinned_fault"]:
            return 2
        memory = ctypes.create_string_buffer(size.value)
        address._obj.value = ctypes.addressof(memory)
        pinned[address._obj.value] = memory
        return 0

    def cuMemFreeHost(self, address):  # noqa: N802
        del pinned[address.value]
        return 0


class FakeLibcuda(FakeDriver):
    """Those that record and replay graphs, too."""

    def __init__(self):
        self.graphs = {}
        self.launched = 0
        self.live = 0
        self.broken = False

    def cuStreamBeginCapture_v2(self, stream, mode):  # noqa: N802
        require_context()
        if self.broken:
            return 900
        streams[stream.value].recorded = []
        return 0

    def cuStreamEndCapture(self, stream, graph):  # noqa: N802
        stream = streams[stream.value]
        number = next(_numbers)
        self.graphs[number], stream.recorded = stream.recorded, None
        graph._obj.value = number
        return 0

    def cuGraphInstantiateWithFlags(self, executable, graph, flags):  # noqa: N802
        number = next(_numbers)
        self.graphs[number] = self.graphs[graph.value]
        executable._obj.value = number
        self.live += 1
        return 0

    def cuGraphDestroy(self, graph):  # noqa: N802
        del self.graphs[graph.value]
        return 0

    def cuGraphLaunch(self, executable, stream):  # noqa: N802
        require_context()
        self.launched += 1
        streams[stream.value].work += self.graphs[executable.value]
        return 0

    def cuGraphExecDestroy(self, executable):  # noqa: N802
        require_context()
        del self.graphs[executable.value]
        self.live -= 1
        return 0
