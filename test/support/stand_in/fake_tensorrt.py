# SPDX-License-Identifier: Apache-2.0
"""A stand-in of TensorRT's Python API that runs networks in ONNX Runtime.

It has exactly the names that the real bindings of the imitated version have, taken from
test/inference/tensorrt_names/: whatever else the library asks for raises AttributeError.
"""

import enum
import json
import time

from fake_engine import is_dynamic, open_network, run_network, shape_of, view_memory
from fake_gpu import count_build, settings
from pycuda import driver
from real_names import make_listed, read_names

MAGIC = b"fake plan\n"


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
    mode = publish_enum("TensorIOMode")
    severities = ("INTERNAL_ERROR", "ERROR", "WARNING", "INFO", "VERBOSE")
    severity = enum.IntEnum("Severity", {name: i for i, name in enumerate(severities)})

    # Whoever derives from these two may add names of its own.
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
            fake = settings()
            count_build(version)
            steps = 10
            if config._monitor is not None:
                config._monitor.phase_start("Building", None, steps)
                config._monitor.phase_start("inner", "Building", 3)
                config._monitor.phase_finish("inner")
            for step in range(steps):
                time.sleep(fake["build_seconds"] / steps)
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

    @publish
    class Runtime(Listed):
        def __init__(self, logger):
            self._logger = logger

        def deserialize_cuda_engine(self, plan):
            driver.require_context()
            header, _, model = plan.removeprefix(MAGIC).partition(b"\n")
            if not plan.startswith(MAGIC):
                self._logger.log(severity.ERROR, "Magic tag does not match")
                return None
            header = json.loads(header)
            for what, here in (("version", version), ("gpu", settings()["gpu"])):
                if header[what] != here:
                    self._logger.log(severity.ERROR, f"engine plan file is for {header[what]}")
                    return None
            return ICudaEngine(header, model)

    @publish
    class ICudaEngine(Listed):
        def __init__(self, header, model):
            self._header, self._session = header, open_network(model)
            ins, outs = (mode.INPUT, mode.OUTPUT) if mode else (True, False)
            self._tensors = {t.name: (ins, t) for t in self._session.get_inputs()}
            self._tensors |= {t.name: (outs, t) for t in self._session.get_outputs()}

        @property
        def num_io_tensors(self):
            return len(self._tensors)

        def get_tensor_name(self, index):
            return list(self._tensors)[index]

        def get_tensor_mode(self, name):
            return self._tensors[name][0]

        def get_tensor_shape(self, name):
            return shape_of(self._tensors[name][1])

        def get_tensor_dtype(self, name):
            words = {"float": "FLOAT", "float16": "HALF", "uint8": "UINT8", "int64": "INT64"}
            return module["DataType"][words[self._tensors[name][1].type[7:-1]]]

        @property
        def num_bindings(self):
            return len(self._tensors)

        def get_binding_name(self, index):
            return list(self._tensors)[index]

        def binding_is_input(self, index):
            return list(self._tensors.values())[index][0]

        def get_binding_shape(self, index):
            return shape_of(list(self._tensors.values())[index][1])

        def get_binding_dtype(self, index):
            words = {"float": "FLOAT", "float16": "HALF", "int64": "INT32"}
            return module["DataType"][words[list(self._tensors.values())[index][1].type[7:-1]]]

        device_memory_size = property(lambda self: 1000)
        device_memory_size_v2 = property(lambda self: 1000)

        def create_execution_context_without_device_memory(self):
            driver.require_context()
            return IExecutionContext(self)

        def create_execution_context(self, strategy):
            driver.require_context()
            assert strategy.name == "USER_MANAGED"
            return IExecutionContext(self)

    @publish
    class IExecutionContext(Listed):
        def __init__(self, engine):
            self._engine, self._shapes, self._addresses = engine, {}, {}
            self._scratch = None

        @property
        def device_memory(self):
            raise AttributeError("device_memory can only be set")

        @device_memory.setter
        def device_memory(self, address):
            driver.check_memory(address, 1000)
            self._scratch = address

        def set_device_memory(self, address, size):
            driver.check_memory(address, max(size, 1000))
            self._scratch = address

        def _set_shape(self, name, shape):
            profile = self._engine._header["profile"].get(name)
            info = self._engine._tensors[name][1]
            if profile is None:
                fits = tuple(shape) == shape_of(info)
            else:
                limits = zip(profile[0], shape, profile[2], strict=True)
                fits = all(least <= size <= most for least, size, most in limits)
            if fits:
                self._shapes[name] = tuple(shape)
                self._outputs = None
            return fits

        def _shape(self, name):
            if name in self._shapes:
                return self._shapes[name]
            if self._outputs is None:
                self._outputs = run_network(self._engine, self._shapes)
            return self._outputs[name].shape

        def set_input_shape(self, name, shape):
            return self._set_shape(name, shape)

        def set_binding_shape(self, index, shape):
            return self._set_shape(list(self._engine._tensors)[index], shape)

        def get_tensor_shape(self, name):
            return self._shape(name)

        def get_binding_shape(self, index):
            return self._shape(list(self._engine._tensors)[index])

        def set_tensor_address(self, name, address):
            driver.check_memory(address, 1)
            self._addresses[name] = address
            return True

        def is_stream_capturable(self, stream):
            return True

        def execute_async_v3(self, stream_handle):
            return self._execute(dict(self._addresses), stream_handle)

        def execute_async_v2(self, bindings, stream_handle):
            for address in bindings:
                driver.check_memory(address, 1)
            return self._execute(
                dict(zip(self._engine._tensors, bindings, strict=True)), stream_handle
            )

        def _execute(self, addresses, stream_handle):
            driver.require_context()
            driver.check_memory(self._scratch, 1000)
            session, shapes = self._engine._session, dict(self._shapes)
            assert set(addresses) == set(self._engine._tensors), "an address is missing"

            def kernel():
                feeds = {
                    t.name: view_memory(addresses[t.name], shapes[t.name], t)
                    for t in session.get_inputs()
                }
                results = run_network(self._engine, shapes, feeds)
                for t in session.get_outputs():
                    values = results[t.name]
                    view_memory(addresses[t.name], values.shape, t)[...] = values

            driver.streams[stream_handle].put(kernel)
            return True

    assert set(module) - {"__version__"} <= plain
    return module
