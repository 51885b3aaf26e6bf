# SPDX-License-Identifier: Apache-2.0
"""Translate layers of Keras 1 (2015 to 2017) to Keras 2.

Source: the renamings of the Keras 2 release notes, https://github.com/keras-team/keras/wiki/Keras-2.0-release-notes.
"""

from typing import Any

from mask_detector_ros.errors import ModelError

_CLASSES = {
    "Convolution2D": "Conv2D",
    "AtrousConvolution2D": "Conv2D",
    "SeparableConvolution2D": "SeparableConv2D",
}

_SAME = {
    *("InputLayer", "Dense", "Activation", "Dropout", "Flatten", "BatchNormalization"),
    *("MaxPooling2D", "AveragePooling2D", "GlobalMaxPooling2D", "GlobalAveragePooling2D"),
    *("ZeroPadding2D", "LeakyReLU", "PReLU", "ELU", "Reshape", "Permute", "SpatialDropout2D"),
}

_OPTIONS = {
    "output_dim": "units",
    "nb_filter": "filters",
    "border_mode": "padding",
    "subsample": "strides",
    "bias": "use_bias",
    "p": "rate",
    "atrous_rate": "dilation_rate",
}

_TRAINING_ONLY = {
    *("W_regularizer", "b_regularizer", "activity_regularizer", "W_constraint", "b_constraint"),
    *("gamma_regularizer", "beta_regularizer", "input_dim", "input_dtype", "mode", "sparse"),
}


def translate_keras1(config: dict[str, Any], name: str) -> dict[str, Any]:
    """Translate an architecture of Keras 1 to Keras 2. Weights are not changed.

    Args:
        config: the `model_config` of the file.
        name: the model's name in errors.

    Raises:
        ModelError: a layer has no known counterpart, or the architecture is damaged.
    """
    try:
        if config.get("class_name") == "Sequential":
            layers = [_translate_layer(layer, name) for layer in config["config"]]
            return {"class_name": "Sequential", "config": {"name": "sequential", "layers": layers}}
        inner = config["config"]
        layers = [_translate_layer(layer, name) for layer in inner["layers"]]
        return {"class_name": "Model", "config": {**inner, "layers": layers}}
    except (TypeError, LookupError, AttributeError, ValueError) as error:
        raise ModelError(
            f"{name} has a damaged architecture ({error!r}); save the model again"
        ) from error


def _translate_layer(layer: dict[str, Any], name: str) -> dict[str, Any]:
    kind, config = layer["class_name"], dict(layer["config"])
    if kind not in _CLASSES and kind not in _SAME:
        raise ModelError(
            f"{name} was written by Keras 1 and has a layer {kind}, which this converter cannot "
            "translate; load it with Keras 2.2 and save it again"
        )
    if "nb_row" in config:
        config["kernel_size"] = [config.pop("nb_row"), config.pop("nb_col")]
    if "dim_ordering" in config:
        if config.pop("dim_ordering") == "th":
            # Theano flips its kernels, and the file does not say whether that was undone.
            raise ModelError(
                f"{name} was written by Keras 1 for Theano (dim_ordering th), which this "
                "converter cannot translate; load it with Keras 2.2 and save it again"
            )
        config["data_format"] = "channels_last"
    if kind == "BatchNormalization" and config.get("mode", 0) != 0:
        raise ModelError(
            f"{name} has a BatchNormalization of mode {config['mode']}; only 0 is known"
        )
    # The weights in the file replace the initial ones.
    config.pop("init", None)
    for option in _TRAINING_ONLY:
        config.pop(option, None)
    translated = {_OPTIONS.get(option, option): value for option, value in config.items()}
    return {**layer, "class_name": _CLASSES.get(kind, kind), "config": translated}
