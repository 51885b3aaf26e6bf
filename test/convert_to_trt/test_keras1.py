# SPDX-License-Identifier: Apache-2.0
"""Layers of Keras 1 are translated to Keras 2."""

import pytest

from convert_to_trt.keras1 import translate_keras1
from mask_detector_ros.errors import ModelError


def sequential(kind, **config):
    return {"class_name": "Sequential", "config": [{"class_name": kind, "config": config}]}


def translated(kind, **config):
    (layer,) = translate_keras1(sequential(kind, **config), "old.h5")["config"]["layers"]
    return layer


def test_a_convolution_gets_the_new_names():
    layer = translated(
        "Convolution2D",
        **{"nb_filter": 8, "nb_row": 3, "nb_col": 5, "subsample": [2, 2], "init": "normal"},
        **{"border_mode": "same", "dim_ordering": "tf", "bias": False, "W_regularizer": None},
    )
    assert layer["class_name"] == "Conv2D"
    assert layer["config"] == {
        **{"filters": 8, "kernel_size": [3, 5], "strides": [2, 2], "padding": "same"},
        **{"data_format": "channels_last", "use_bias": False},
    }


def test_the_layers_of_a_graph_are_translated_and_its_wiring_stays():
    wiring = [["input", 0, 0]]
    config = {
        "layers": [{"class_name": "Dropout", "config": {"p": 0.5}, "inbound_nodes": wiring}],
        "input_layers": wiring,
    }
    model = translate_keras1({"class_name": "Model", "config": config}, "old.h5")
    assert model["config"]["input_layers"] == wiring
    (layer,) = model["config"]["layers"]
    assert layer["config"] == {"rate": 0.5}
    assert layer["inbound_nodes"] == wiring


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        ("Merge", {"mode": "sum"}),
        ("BatchNormalization", {"mode": 2}),
        ("MaxPooling2D", {"dim_ordering": "th"}),
    ],
)
def test_what_has_no_counterpart_is_refused(kind, config):
    with pytest.raises(ModelError, match=r"old\.h5"):
        translated(kind, **config)
