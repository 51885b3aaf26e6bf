# SPDX-License-Identifier: Apache-2.0
"""The public names of NVIDIA's real bindings, as tensorrt_names/write_names.py noted them."""

from pathlib import Path

FOLDER = Path(__file__).parent / "tensorrt_names"


OLDER_HALF = "8.2.1"
"""JetPack 4.6's TensorRT, of whose bindings there is no wheel. Those of 8.6 have its names still,
beside the ones that came with 8.4 and 8.5, which are left out here."""

_SINCE = {
    "TensorIOMode": None,
    "MemoryPoolType": None,
    "IBuilderConfig": {"set_memory_pool_limit", "get_memory_pool_limit"},
    "DataType": {"UINT8", "FP8"},
    "IExecutionContext": {"execute_async_v3", "set_input_shape", "infer_shapes"},
    "ICudaEngine": {"num_io_tensors", "num_aux_streams"},
}


def read_names(version):
    """The members of every class and, with no members, the module's other names."""
    if version == OLDER_HALF:
        return _older_half(read_names("8.6.1"))
    names = {}
    for line in (FOLDER / f"{version}.txt").read_text().splitlines():
        name, _, members = line.partition(":")
        names[name] = set(members.split())
    return names


def make_listed(version, classes):
    """A base class that allows reading and setting only what the real class of its name has."""

    class Listed:
        def _check(self, name):
            known = classes[type(self)._real_name]
            if not name.startswith("_") and name not in known:
                raise AttributeError(f"{type(self)._real_name} of {version} has no {name!r}")

        def __getattribute__(self, name):
            object.__getattribute__(self, "_check")(name)
            return object.__getattribute__(self, name)

        def __setattr__(self, name, value):
            self._check(name)
            object.__setattr__(self, name, value)

    return Listed


def _older_half(names):
    for name, newer in _SINCE.items():
        if newer is None:
            del names[name]
        else:
            assert newer <= names[name]
            names[name] -= newer
    for name in ("ICudaEngine", "IExecutionContext"):
        names[name] = {member for member in names[name] if "_tensor" not in member}
    return names
