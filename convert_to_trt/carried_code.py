"""Objects in a model file that would run code of the file's author.

Keras stores a Lambda layer as Python bytecode, and can name any class or function that it shall
import; TensorFlow graphs can call back into Python and touch files. Whoever gets a model from
elsewhere must know before it is loaded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from mask_detector_ros.errors import ModelError

_CODE_LAYERS = {
    "Lambda": "bytecode",
    "__lambda__": "bytecode",
    "function": "a function of its author",
    "TorchModuleWrapper": "a pickled object",
    "TFSMLayer": "a reference to another model",
    "TFOpLambda": "a call of a TensorFlow function",
    "TensorFlowOpLayer": "a TensorFlow graph of its own",
}

_KERAS_PARTS = (
    *("layers", "models", "engine", "initializers", "regularizers", "constraints"),
    *("activations", "dtype_policies", "ops", "mixed_precision"),
    *("optimizers", "losses", "metrics"),
)
"""Packages of Keras whose classes compute; others read files or change Keras's own safety."""

_HARMLESS_CALLS = ("math.", "nn.", "__operators__.", "clip_by_value", "cast", "reshape", "concat")
"""TensorFlow functions that Keras 2 records as layers and that do nothing but arithmetic."""

FORBIDDEN_OPERATIONS = {
    *("PyFunc", "PyFuncStateless", "EagerPyFunc"),
    *("ReadFile", "WriteFile", "MatchingFiles", "WholeFileReader", "WholeFileReaderV2"),
    *("PrintV2", "DebugIdentity", "DebugIdentityV2", "DebugIdentityV3"),
    *("LookupTableImport", "InitializeTableFromTextFile", "InitializeTableFromTextFileV2"),
    *("TextLineDataset", "TFRecordDataset", "FixedLengthRecordDataset"),
    *("RpcCall", "TryRpc", "Send", "Recv", "_Send", "_Recv", "RemoteCall"),
}
"""TensorFlow operations that run Python, or read and write outside of the graph."""


def refuse_keras_code(config: dict[str, Any], name: str) -> None:
    """Raise where a Keras architecture carries code.

    Args:
        config: as `model_files.KerasFile.config`.
        name: what to call the model in the error.

    Raises:
        ModelError: names the first object found.
    """
    for finding in find_keras_code(config):
        raise _refusal(name, finding)


def refuse_graph_code(operations: Iterable[str], name: str) -> None:
    """Raise where the operation types of a TensorFlow graph reach out of it.

    Raises:
        ModelError: names the operations.
    """
    found = sorted(set(operations) & FORBIDDEN_OPERATIONS)
    if found:
        raise _refusal(name, f"the operations {', '.join(found)}, which reach out of the graph")


def find_keras_code(config: Any) -> Iterator[str]:
    """Each object of a Keras architecture that carries code, in words."""
    if isinstance(config, list):
        for item in config:
            yield from find_keras_code(item)
    elif isinstance(config, dict):
        yield from _judge(config)
        for value in config.values():
            yield from find_keras_code(value)


def _judge(entry: dict[str, Any]) -> Iterator[str]:
    name, inner = entry.get("class_name"), entry.get("config")
    inner = inner if isinstance(inner, dict) else {}
    where = f" {inner['name']}" if isinstance(inner.get("name"), str) else ""
    if name in _CODE_LAYERS and not _is_arithmetic(name, inner):
        yield f"the {name} object{where} ({_CODE_LAYERS[name]})"
        return
    # Keras 3 and Keras 2.12 write the module; null stands for a class that the author registered.
    if isinstance(name, str) and "module" in entry and not _is_keras(entry["module"]):
        yield f"the object{where} of the class {entry['module']}.{name}, which is not Keras's own"
    elif isinstance(name, str) and ">" in name:
        yield f"the object{where} of the class {name}, which is not Keras's own"


def _is_arithmetic(name: str, inner: dict[str, Any]) -> bool:
    call = str(inner.get("function", ""))
    return name == "TFOpLambda" and call.startswith(_HARMLESS_CALLS)


def _is_keras(module: Any) -> bool:
    if not isinstance(module, str):
        return False
    parts = [part for part in module.split(".") if part not in ("src", "python", "tensorflow")]
    return parts[0] in ("keras", "tf_keras") and (len(parts) == 1 or parts[1] in _KERAS_PARTS)


def _refusal(name: str, finding: str) -> ModelError:
    return ModelError(f"{name} carries code: {finding}; if you trust whoever made it, add --trust")
