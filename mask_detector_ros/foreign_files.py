# SPDX-License-Identifier: Apache-2.0
"""Identify foreign files: those that are not models, or models of another framework."""

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
ZIP_SIGNATURE = b"PK\x03\x04"
TFLITE_SIGNATURE = b"TFL3"
"""TensorFlow Lite's magic number, at the fifth byte."""

PYTORCH_MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""The magic number of files before PyTorch 1.6, within their first pickle."""

PYTORCH_EXPORT = (
    "torch.onnx.export(model, torch.zeros(1, 3, S, S), 'mask.onnx', input_names=['input'],"
    " dynamic_axes={'input': {0: 'n'}})"
)
PYTORCH = (
    "it is a PyTorch file, which only its own Python class can load; export it there: model.eval();"
    f" {PYTORCH_EXPORT}; then convert mask.onnx"
)
_SCIKIT_LEARN = (
    "it is a scikit-learn model, which takes a table of features; the node needs a network that"
    " takes face crops"
)
_OTHER_FORMATS = {
    **dict.fromkeys((".mlmodel", ".mlpackage", ".mlmodelc"), "Core ML"),
    **dict.fromkeys((".engine", ".plan", ".trt"), "TensorRT, which fits one GPU"),
    **dict.fromkeys((".caffemodel", ".prototxt"), "Caffe"),
    **dict.fromkeys((".index", ".meta", ".data-00000-of-00001"), "a TensorFlow checkpoint"),
    **dict.fromkeys((".pdmodel", ".pdiparams"), "PaddlePaddle"),
    **dict.fromkeys((".npy", ".npz"), "NumPy"),
    **{".xml": "OpenVINO", ".weights": "Darknet", ".params": "MXNet", ".uff": "UFF"},
    **{".safetensors": "safetensors, with weights only", ".rknn": "RKNN"},
    **{".ckpt": "a checkpoint of training", ".mnn": "MNN", ".param": "ncnn", ".mar": "TorchServe"},
}
"""Formats that neither the converter nor the node reads, by suffix."""


def find_placeholder(head: bytes) -> str:
    """Identify a foreign file that was saved in place of another, by its first kilobytes, with the
    remedy; empty for others.
    """
    text = head.lstrip().lower()
    if text.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer, the file itself is elsewhere; run git lfs pull"
    pages = (b"<!doctype", b"<html", b"<?xml", b"<head", b"<script")
    if text.startswith(pages) and b"<net " not in text:
        return "it is a web page saved in place of the file; download it by its raw link"
    return ""


def find_foreign(head: bytes) -> str:
    """Identify a foreign file, which is not a model, by its first kilobytes, with the remedy; empty
    for anything else.
    """
    if placeholder := find_placeholder(head):
        return placeholder
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        if b"torch" in head or PYTORCH_MAGIC in head:
            return PYTORCH
        if b"sklearn" in head:
            return _SCIKIT_LEARN
        return (
            "it is a Python pickle, which may run any code on loading; save the model itself,"
            " for example with model.save(...)"
        )
    if head.startswith((b"\x1f\x8b", b"Rar!", b"7z\xbc\xaf", b"BZh", b"\xfd7zXZ")) or (
        head[257:262] == b"ustar"
    ):
        return "it is an archive; unpack it and give the model inside"
    if head.startswith((b"\x89PNG", b"\xff\xd8\xff", b"GIF8")):
        return "it is an image; give a model"
    return ""


def find_other_format(suffix: str) -> str:
    """Identify a model of a format that nothing here reads, by its file's suffix, with the remedy;
    empty for anything else."""
    name = _OTHER_FORMATS.get(suffix.lower())
    if suffix.lower() == ".joblib":
        return _SCIKIT_LEARN
    if suffix.lower() == ".bin":
        return (
            "it holds weights only, of OpenVINO, TensorFlow.js or another tool; give the file that"
            " describes the network"
        )
    if name is None:
        return ""
    return f"it is a file of {name}; export the original model as ONNX and give that file"


def is_other_framework(head: bytes) -> bool:
    """Whether a foreign file is a model of Keras or TensorFlow, or an archive that may hold one."""
    return (
        head.startswith((HDF5_SIGNATURE, ZIP_SIGNATURE))
        or head[4:8] == TFLITE_SIGNATURE
        or head.lstrip()[:1] == b"{"
    )
