# SPDX-License-Identifier: Apache-2.0
"""The runtime half of the stand-in of TensorRT: it reads engines and runs them."""

import json

from fake_engine import MAGIC, open_network, run_network, shape_of, view_memory
from fake_gpu import settings
from pycuda import driver


def add_runtime(module, publish, Listed, version):  # noqa: N803
    """Publish the classes in the module of that version."""
    severity, mode = module["ILogger"].Severity, module.get("TensorIOMode")

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
            self._output_shapes = {}
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
            return fits

        def _shape(self, name):
            if name in self._shapes:
                return self._shapes[name]
            known, key = self._engine._output_shapes, tuple(self._shapes.items())
            if key not in known:
                outputs = run_network(self._engine, self._shapes)
                known[key] = {output: values.shape for output, values in outputs.items()}
            return known[key][name]

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
