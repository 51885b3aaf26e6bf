# SPDX-License-Identifier: Apache-2.0
"""A Keras architecture may contain only objects that compute."""

import pytest

from convert_to_trt.keras_code_check import find_keras_code, reject_keras_code
from mask_detector_ros.errors import ModelError


def layer(kind, module="keras.layers", **config):
    return {"class_name": kind, "module": module, "config": {"name": "it", **config}}


HARMLESS = {
    "Keras 2": {"class_name": "Dense", "config": {"name": "dense", "units": 2}},
    "Keras 3": layer("Dense", dtype=layer("DTypePolicy", module="keras")),
    "Keras 3, internal name": layer("Functional", module="keras.src.models.functional"),
    "initialiser": layer("Conv2D", kernel=layer("GlorotUniform", module="keras.initializers")),
    "activation": {
        **{"class_name": "function", "module": "keras.activations"},
        **{"config": "relu6", "registered_name": "relu6"},
    },
    "operation": layer("Add", module="keras.src.ops.numpy"),
    "plain value": {"class_name": "__keras_tensor__", "config": {"shape": [None, 2]}},
    "slice": {"class_name": "SlicingOpLambda", "config": {"function": "__operators__.getitem"}},
    "arithmetic": {"class_name": "TFOpLambda", "config": {"function": "math.add"}},
}
CODE = {
    "Lambda": layer("Lambda"),
    "Lambda of Keras 1": {"class_name": "Lambda", "config": {"function_type": "lambda"}},
    "bytecode": {"class_name": "__lambda__", "config": {"value": "4wAA"}},
    "function": layer("function", module="builtins"),
    "pickled": layer("TorchModuleWrapper"),
    "other model": layer("TFSMLayer"),
    "foreign module": layer("system", module="os"),
    "safety switch": layer("enable_unsafe_deserialization", module="keras.config"),
    "similar name": layer("Dense", module="keras_evil.layers"),
    "registered class": layer("Mine", module=None),
    "registered name": {"class_name": "Custom>Mine", "config": {}},
    "vocabulary": layer("StringLookup", vocabulary="/etc/passwd"),
    "vocabulary of Keras 2": {"class_name": "TextVectorization", "config": {"vocabulary": "/x"}},
    "loader": layer("load_model", module="keras.models"),
    "loader as a function": {
        **{"class_name": "function", "module": "keras.models", "config": "load_model"},
    },
    "loader among operations": layer("load_model", module="keras.src.ops.numpy"),
    "unknown layer": layer("LayerOf2030"),
    "class that is no name": {"class_name": ["Dense"], "config": {}},
    "file access": {"class_name": "TFOpLambda", "config": {"function": "io.write_file"}},
}


@pytest.mark.parametrize("entry", HARMLESS.values(), ids=HARMLESS)
def test_an_architecture_of_keras_s_own_layers_passes(entry):
    assert not list(find_keras_code({"config": {"layers": [entry]}}))


@pytest.mark.parametrize("entry", CODE.values(), ids=CODE)
def test_code_is_found_however_deep_it_lies(entry):
    wrapped = layer("TimeDistributed", layer=entry)
    nested = {"config": {"layers": [layer("Functional", layers=[wrapped])]}}
    with pytest.raises(ModelError, match=r"mask\.h5 carries code: .*--trust"):
        reject_keras_code(nested, "mask.h5")


def test_an_architecture_may_be_nested_deeper_than_python_calls_itself():
    entry = layer("Lambda")
    for _ in range(3000):
        entry = [entry]
    assert list(find_keras_code(entry))
