# SPDX-License-Identifier: Apache-2.0
"""Detect objects in a Keras file that do more than compute, or run code from its author.

Keras stores a Lambda layer as Python bytecode, can import any class or function by name, and has
layers that read files. An architecture may therefore contain only objects on an allowlist. For
TensorFlow graphs see `graph_operations`.
"""

import re
from collections.abc import Iterator
from typing import Any

from mask_detector_ros.errors import ModelError

_DIMENSIONS = ("1D", "2D", "3D")

_LAYERS = {
    *("Activation", "ActivityRegularization", "Add", "AdditiveAttention", "AlphaDropout"),
    *("Attention", "AutoContrast", "Average", "BatchNormalization", "Bidirectional"),
    *("CategoryEncoding", "CenterCrop", "Concatenate", "Dense", "Dot", "Dropout", "ELU"),
    *("EinsumDense", "Embedding", "Equalization", "Flatten", "GRU", "GRUCell", "GaussianDropout"),
    *("GaussianNoise", "GroupNormalization", "GroupQueryAttention", "Identity", "InputLayer"),
    *("LSTM", "LSTMCell", "LayerNormalization", "LeakyReLU", "Masking", "Maximum", "Minimum"),
    *("MultiHeadAttention", "Multiply", "Normalization", "PReLU", "Permute", "Pipeline"),
    *("RMSNormalization", "RNN", "ReLU", "RepeatVector", "Rescaling", "Reshape", "Resizing"),
    *("SimpleRNN", "SimpleRNNCell", "Softmax", "SpectralNormalization", "StackedRNNCells"),
    *("Subtract", "ThresholdedReLU", "TimeDistributed", "UnitNormalization", "LayerScale"),
    *("DepthwiseConv2D", "DepthwiseConv1D", "SyncBatchNormalization"),
    *("BatchNormalizationV1", "BatchNormalizationV2"),
    *(f"AtrousConvolution{d}" for d in _DIMENSIONS),
    *(
        f"{name}{d}"
        for d in _DIMENSIONS
        for name in (
            *("AdaptiveAveragePooling", "AdaptiveMaxPooling", "AveragePooling", "AvgPool"),
            *("Conv", "ConvLSTM", "Convolution", "Cropping", "GlobalAveragePooling"),
            *("GlobalAvgPool", "GlobalMaxPool", "GlobalMaxPooling", "LocallyConnected"),
            *("MaxPool", "MaxPooling", "SeparableConv", "SeparableConvolution"),
            *("SpatialDropout", "UpSampling", "ZeroPadding"),
        )
    ),
    *(f"{name}{d}Transpose" for d in _DIMENSIONS for name in ("Conv", "Convolution")),
    *(
        f"Random{name}"
        for name in (
            *("Brightness", "ColorDegeneration", "ColorJitter", "Contrast", "Crop", "Erasing"),
            *("ElasticTransform", "Flip", "GaussianBlur", "Grayscale", "Height", "Hue", "Invert"),
            *("Perspective", "Posterization", "Rotation", "Saturation", "Sharpness", "Shear"),
            *("Translation", "Width", "Zoom"),
        )
    ),
}
_MODELS = {"Functional", "Model", "Sequential"}
_INITIALIZERS = {
    *("Constant", "GlorotNormal", "GlorotUniform", "HeNormal", "HeUniform", "IdentityInitializer"),
    *("LecunNormal", "LecunUniform", "Ones", "Orthogonal", "OrthogonalInitializer"),
    *("RandomNormal", "RandomUniform", "TruncatedNormal", "VarianceScaling", "Zeros"),
}
_OTHERS = {
    *("L1", "L2", "L1L2", "OrthogonalRegularizer", "l1", "l2", "l1_l2"),
    *("MaxNorm", "MinMaxNorm", "NonNeg", "UnitNorm", "RadialConstraint"),
    *("DTypePolicy", "DTypePolicyMap", "FloatDTypePolicy", "QuantizedDTypePolicy", "Policy"),
}
_MARKERS = {
    *("__keras_tensor__", "__tensor__", "__numpy__", "__bytes__", "__ellipsis__", "__tuple__"),
    *("__slice__", "__none__", "TensorShape"),
}
"""Keras 3's names for plain values."""

_COMPUTING = _LAYERS | _MODELS | _INITIALIZERS | _OTHERS

_ACTIVATIONS = {
    *("celu", "elu", "exponential", "gelu", "glu", "hard_sigmoid", "hard_silu", "hard_swish"),
    *("leaky_relu", "linear", "log_sigmoid", "log_softmax", "mish", "relu", "relu6", "selu"),
    *("sigmoid", "silu", "softmax", "softplus", "softsign", "swish", "tanh"),
}

_CODE_LAYERS = {
    "Lambda": "bytecode",
    "__lambda__": "bytecode",
    "function": "a function of its author",
    "TorchModuleWrapper": "a pickled object",
    "TFSMLayer": "a reference to another model",
    "TFOpLambda": "a call of a TensorFlow function",
    "TensorFlowOpLayer": "a TensorFlow graph of its own",
    "StringLookup": "a vocabulary, which may be any file",
    "IntegerLookup": "a vocabulary, which may be any file",
    "TextVectorization": "a vocabulary, which may be any file",
}
"""Explanations for some objects that are not on the list, for the error."""

_KERAS_PARTS = (
    *("layers", "models", "engine", "initializers", "regularizers", "constraints"),
    *("activations", "dtype_policies", "mixed_precision", "applications"),
)
"""Keras packages whose classes only compute; others read files or change Keras's safety
settings."""

_OPERATIONS = ("ops.numpy", "ops.nn", "ops.image", "ops.math")
"""Modules of Keras 3 whose classes are single operations, such as adding two layers."""

_HARMLESS_CALLS = ("math.", "nn.", "__operators__.", "clip_by_value", "cast", "reshape", "concat")
"""TensorFlow functions that Keras 2 records as layers and that only do arithmetic."""


def reject_keras_code(config: dict[str, Any], name: str) -> None:
    """Raise ModelError if a Keras architecture contains code of its author, or objects that do more
    than compute.

    Args:
        config: the architecture, as in `keras_files.KerasFile.config`.
        name: the model's name in the error.

    Raises:
        ModelError: there is one; the message names the first.
    """
    for finding in find_keras_code(config):
        raise ModelError(f"{name} carries code: {finding}; if you trust its author, add --trust")


def find_keras_code(config: Any) -> Iterator[str]:
    """Describe each object of a Keras architecture that is not on the allowlist of harmless
    ones."""
    ahead = [config]
    while ahead:
        entry = ahead.pop()
        if isinstance(entry, dict):
            if "class_name" in entry:
                yield from _judge(entry)
            ahead += entry.values()
        elif isinstance(entry, list):
            ahead += entry


def _judge(entry: dict[str, Any]) -> Iterator[str]:
    name, config, module = entry["class_name"], entry.get("config"), entry.get("module")
    inner = config if isinstance(config, dict) else {}
    where = f" {inner['name']}" if isinstance(inner.get("name"), str) else ""
    is_value = isinstance(name, str) and name in _MARKERS
    is_activation = name == "function" and str(config) in _ACTIVATIONS and _is_keras(module)
    is_arithmetic = str(inner.get("function", "")).startswith(_HARMLESS_CALLS)
    is_arithmetic &= name in ("TFOpLambda", "SlicingOpLambda")
    if is_value or is_activation or is_arithmetic:
        return
    if not isinstance(name, str):
        yield f"an object{where} whose class is {name!r}"
    elif name in _CODE_LAYERS:
        yield f"the {name} object{where} ({_CODE_LAYERS[name]})"
    # Keras 3 and Keras 2.12 write the module; null marks a class that the author registered.
    elif "module" in entry and not _is_keras(module):
        yield f"the object{where} of the class {module}.{name}, which is not Keras's own"
    elif ">" in name:
        yield f"the object{where} of the class {name}, which is not Keras's own"
    elif name not in _COMPUTING and not _is_operation(module, name):
        yield f"the object{where} of the class {name}, which is not among those that only compute"


def _parts(module: Any) -> list[str]:
    if not isinstance(module, str):
        return [""]
    return [part for part in module.split(".") if part not in ("src", "python", "tensorflow")]


def _is_keras(module: Any) -> bool:
    first, *rest = _parts(module)
    known = not rest or rest[0] in _KERAS_PARTS or ".".join(rest) in _OPERATIONS
    return first in ("keras", "tf_keras") and known


def _is_operation(module: Any, name: str) -> bool:
    _, *rest = _parts(module)
    return ".".join(rest) in _OPERATIONS and bool(re.fullmatch(r"[A-Z]\w*", name))
