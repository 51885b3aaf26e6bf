# SPDX-License-Identifier: Apache-2.0
"""A network in the format of Keras 1, and the results of its layers: runs in .venv/convert."""

import json
from pathlib import Path

import h5py
import numpy as np

SIDE = 16
KERAS1_LAYERS = [
    {
        "class_name": "Convolution2D",
        "config": {
            **{"name": "convolution", "nb_filter": 4, "nb_row": 3, "nb_col": 3, "bias": True},
            **{"batch_input_shape": [None, SIDE, SIDE, 3], "subsample": [2, 2], "trainable": True},
            **{"border_mode": "same", "dim_ordering": "tf", "activation": "linear"},
            **{"init": "glorot_uniform", "W_regularizer": None, "input_dtype": "float32"},
        },
    },
    {
        "class_name": "BatchNormalization",
        "config": {
            **{"name": "norm", "epsilon": 1e-3, "mode": 0, "axis": -1, "momentum": 0.99},
            **{"gamma_regularizer": None, "beta_regularizer": None, "trainable": True},
        },
    },
    {"class_name": "Dropout", "config": {"name": "dropout", "p": 0.5, "trainable": True}},
    {"class_name": "Flatten", "config": {"name": "flatten", "trainable": True}},
    {
        "class_name": "Dense",
        "config": {
            **{"name": "dense", "output_dim": 2, "bias": True, "activation": "softmax"},
            **{"init": "glorot_uniform", "input_dim": None, "trainable": True},
        },
    },
]


def write_keras1(path: Path) -> None:
    chance = np.random.default_rng(0)
    weights = {
        "convolution": {"W": (3, 3, 3, 4), "b": (4,)},
        "norm": dict.fromkeys(("gamma", "beta", "running_mean", "running_std"), (4,)),
        "dropout": {},
        "flatten": {},
        "dense": {"W": (4 * (SIDE // 2) ** 2, 2), "b": (2,)},
    }
    with h5py.File(path, "w") as file:
        config = {"class_name": "Sequential", "config": KERAS1_LAYERS}
        file.attrs["model_config"] = json.dumps(config).encode()
        file.attrs["keras_version"] = b"1.2.2"
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [name.encode() for name in weights]
        group.attrs["keras_version"] = b"1.2.2"
        group.attrs["backend"] = b"tensorflow"
        for layer, shapes in weights.items():
            names = [f"{layer}_{kind}" for kind in shapes]
            part = group.create_group(layer)
            part.attrs["weight_names"] = np.array([name.encode() for name in names], "S")
            for name, shape in zip(names, shapes.values(), strict=True):
                part[name] = chance.uniform(0.01, 0.3, shape).astype(np.float32)


def keras1_probabilities(path: Path) -> np.ndarray:
    """Compute the layers of KERAS1_LAYERS for one fixed crop in plain NumPy."""
    with h5py.File(path) as file:
        w = {name: part[name][()] for part in file["model_weights"].values() for name in part}
    crop = np.random.default_rng(5).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    # Stride 2 and padding `same` on an even side: one row below, one column to the right.
    image = np.pad(crop[..., ::-1] / 255, ((0, 1), (0, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(image, (3, 3), axis=(0, 1))[::2, ::2]
    x = np.einsum("ijcyx,yxco->ijo", windows, w["convolution_W"]) + w["convolution_b"]
    x = x - w["norm_running_mean"]
    x = x / np.sqrt(w["norm_running_std"] + 1e-3) * w["norm_gamma"] + w["norm_beta"]
    powers = np.exp(x.ravel() @ w["dense_W"] + w["dense_b"])
    return powers / powers.sum()
