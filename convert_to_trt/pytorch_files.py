# SPDX-License-Identifier: Apache-2.0
"""Tell what a PyTorch file holds, without loading it, and how to export it to ONNX."""

import io
import pickletools
import zipfile
from itertools import chain
from pathlib import Path

from mask_detector_ros.foreign_files import PYTORCH, PYTORCH_EXPORT, PYTORCH_MAGIC

_PICKLE_LIMIT = 4 << 20
"""Maximum bytes of a pickle to look through: it holds names and sizes, no weights."""

_EXPORT = f"{PYTORCH_EXPORT} with S the side of the crops; then convert mask.onnx"
_ENTRIES = ("state_dict", "model_state_dict", "model")
"""Names under which a checkpoint of training keeps the weights."""

_WEIGHTS_ONLY = ("torch", "collections", "numpy", "builtins", "_codecs", "argparse", "pathlib")
"""Packages whose objects a file of weights, or a checkpoint of training, consists of."""


def describe_pytorch(path: Path) -> str:
    """What a PyTorch file holds, and the lines that export it."""
    try:
        if not zipfile.is_zipfile(path):
            with path.open("rb") as file:
                return _describe(path.name, *_read_pickles(file.read(_PICKLE_LIMIT)))
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if any(name.endswith("/constants.pkl") for name in names):
                return (
                    f"it is a TorchScript file; export it with PyTorch: model ="
                    f" torch.jit.load('{path.name}').eval(); {_EXPORT}"
                )
            (pickled,) = (name for name in names if name.endswith("data.pkl"))
            with archive.open(pickled) as file:
                return _describe(path.name, *_read_pickles(file.read(_PICKLE_LIMIT)))
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError, ValueError):
        return PYTORCH


def _describe(name: str, classes: list[tuple[str, str]], texts: list[str]) -> str:
    packages = {module.split(".")[0] for module, _ in classes}
    if "ultralytics" in packages:
        return (
            f"it is an Ultralytics model; export it with yolo export model={name} format=onnx and"
            " convert the .onnx file"
        )
    if "fastai" in packages:
        return (
            f"it is a fastai learner; export it with fastai: model = load_learner('{name}')"
            f".model.eval(); {_EXPORT} with --logits, and --labels in the order of learn.dls.vocab"
        )
    own = [
        f"{module}.{kind}"
        for module, kind in classes
        if module.split(".")[0] not in _WEIGHTS_ONLY or module.startswith("torch.nn.modules")
    ]
    if own:
        return (
            f"it is a whole PyTorch model ({own[0]}), which only a program with its classes can"
            f" load; there: model = torch.load('{name}', weights_only=False).eval(); {_EXPORT}"
        )
    entry = next((f"['{key}']" for key in _ENTRIES if key in texts), "")
    return (
        f"it holds PyTorch weights without their network; build it as in training, then"
        f" model.load_state_dict(torch.load('{name}'){entry}); model.eval(); {_EXPORT}"
    )


def _read_pickles(content: bytes) -> tuple[list[tuple[str, str]], list[str]]:
    """Module and name of each object that pickles refer to, and their texts, without loading them.

    A file of before PyTorch 1.6 begins with a magic number, a version, a system and the object.

    Raises:
        ValueError: it is damaged.
    """
    classes: list[tuple[str, str]] = []
    texts: list[str] = []
    stream = io.BytesIO(content)
    count = 4 if content[2:].startswith(PYTORCH_MAGIC) else 1
    for operation, value, _ in chain.from_iterable(
        pickletools.genops(stream) for _ in range(count)
    ):
        if operation.name == "GLOBAL":
            module, _, kind = str(value).partition(" ")
            classes.append((module, kind))
        elif operation.name == "STACK_GLOBAL" and len(texts) > 1:
            classes.append((texts[-2], texts[-1]))
        elif isinstance(value, str):
            texts.append(value)
    return classes, texts
