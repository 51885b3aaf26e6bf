# SPDX-License-Identifier: Apache-2.0
"""A stand-in of TensorRT's Python API that runs networks in ONNX Runtime.

It has exactly the names that the real bindings of the imitated version have, taken from
test/support/tensorrt_names/: whatever else the library asks for raises AttributeError.
"""

import enum
import json
import time

from fake_engine import MAGIC, is_dynamic, open_network
from fake_gpu import count_build, settings
from fake_runtime import add_runtime
from real_names import make_listed, read_names


def module_of(version):
    """The contents of a module `tensorrt` of that version (or `rtx-` and a version)."""
    classes = read_names(version)
    plain = set(classes)
    module = {"__version__": version.removeprefix("rtx-")}

    Listed = make_listed(version, classes)  # noqa: N806

    def publish(cls):
        cls._real_name = cls.__name__
        if cls.__name__ in plain:
            module[cls.__name__] = cls
        return cls

    def publish_enum(name, **extra):
        members = classes.get(name, set()) - {"name", "value", "itemsize", "from_value"}
        if members:
            values = {member: i for i, member in enumerate(sorted(members))}
            return publish(enum.IntEnum(name, values | extra))
        return None

    for name in ("NetworkDefinitionCreationFlag", "BuilderFlag", "MemoryPoolType", "DataType"):
        publish_enum(name)
    publish_enum("ExecutionContextAllocationStrategy")
    publish_enum("ComputeCapability")
    publish_enum("TensorIOMode")
    severities = ("INTERNAL_ERROR", "ERROR", "WARNING", "INFO", "VERBOSE")
    severity = enum.IntEnum("Severity", {name: i for i, name in enumerate(severities)})

    # What derives from these two may add names of its own.
    @publish
    class ILogger:
        Severity = severity

        def log(self, severity, message):
            raise NotImplementedError

    if "IProgressMonitor" in plain:

        @publish
        class IProgressMonitor:
            pass

    @publish
    class Builder(Listed):
        def __init__(self, logger):
            self._logger = logger

        def create_network(self, flags):
            network = INetworkDefinition()
            known = module["NetworkDefinitionCreationFlag"]
            typed = getattr(known, "STRONGLY_TYPED", None)
            network._typed = typed is not None and bool(flags & 1 << int(typed))
            if typed is None:
                assert flags & 1 << int(known.EXPLICIT_BATCH)
            return network

        def create_builder_config(self):
            return IBuilderConfig()

        def create_optimization_profile(self):
            return IOptimizationProfile()

        def build_serialized_network(self, network, config):
            fake, begin = settings(), time.monotonic()
            count_build(version)
            steps = 10
            if config._monitor is not None:
                config._monitor.phase_start("Building", None, steps)
                config._monitor.phase_start("inner", "Building", 3)
                config._monitor.phase_finish("inner")
            for step in range(steps):
                # A test may shorten it meanwhile.
                while time.monotonic() < begin + settings()["build_seconds"] * (step + 1) / steps:
                    time.sleep(0.02)
                if config._monitor is not None:
                    assert config._monitor.step_complete("Building", step)
            if config._monitor is not None:
                config._monitor.phase_finish("Building")
            if fake["build_fault"] == "kill":
                import os
                import signal

                os.kill(os.getpid(), signal.SIGKILL)
            free = {t.name for t in network._session.get_inputs() if is_dynamic(t)}
            if free != set(config._profile):
                self._logger.log(severity.ERROR, f"Network has dynamic inputs: {free}")
                return None
            if fake["build_fault"] == "refuse":
                self._logger.log(severity.ERROR, "Could not find any implementation for node")
                return None
            header = {
                "version": version,
                "gpu": fake["gpu"],
                "profile": config._profile,
                "half": "FP16" in config._flags,
                "flags": sorted(config._flags),
                "typed": network._typed,
                "workspace": config._pools,
            }
            return MAGIC + json.dumps(header).encode() + b"\n" + network._model

    @publish
    class INetworkDefinition(Listed):
        _model = None

    @publish
    class OnnxParser(Listed):
        def __init__(self, network, logger):
            self._network, self._errors = network, []

        def parse(self, model):
            try:
                self._network._session = open_network(model)
            except Exception as error:  # ONNX Runtime's have no common base
                self._errors.append(str(error))
                return False
            self._network._model = model
            return True

        @property
        def num_errors(self):
            return len(self._errors)

        def get_error(self, index):
            return self._errors[index]

    @publish
    class IOptimizationProfile(Listed):
        def __init__(self):
            self._shapes = {}

        def set_shape(self, name, least, usual, most):
            assert all(a <= b <= c for a, b, c in zip(least, usual, most, strict=True))
            self._shapes[name] = [list(least), list(usual), list(most)]

    @publish
    class IBuilderConfig(Listed):
        def __init__(self):
            self._flags, self._profile, self._pools, self._monitor = {"TF32"}, {}, {}, None

        def set_flag(self, flag):
            self._flags.add(flag.name)

        def clear_flag(self, flag):
            self._flags.discard(flag.name)

        def set_memory_pool_limit(self, pool, size):
            self._pools[pool.name] = size

        @property
        def max_workspace_size(self):
            return self._pools["WORKSPACE"]

        @max_workspace_size.setter
        def max_workspace_size(self, size):
            self._pools["WORKSPACE"] = size

        def add_optimization_profile(self, profile):
            self._profile = profile._shapes

        @property
        def progress_monitor(self):
            return self._monitor

        @progress_monitor.setter
        def progress_monitor(self, monitor):
            self._monitor = monitor

    add_runtime(module, publish, Listed, version)
    assert set(module) - {"__version__"} <= plain
    return module
