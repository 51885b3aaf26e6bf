# SPDX-License-Identifier: Apache-2.0
"""Read a server's description of a model, and compare it with the expected one."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from tritonclient.grpc import model_config_pb2, service_pb2

from mask_detector_ros import __version__
from mask_detector_ros.errors import BackendError, ModelError
from mask_detector_ros.imaging.image_size import MAX_IMAGE_PIXELS
from mask_detector_ros.inference.options import ServerOptions
from mask_detector_ros.inference.session import TensorInfo
from mask_detector_ros.inference.triton.connection import Connection, NotFoundError
from mask_detector_ros.label_roles import read_labels

IMAGE, JPEG = "image", "jpeg"
"""Inputs: (H, W, 3) BGR pixels, or a whole JPEG file."""

OUTPUTS = ("boxes", "scores", "landmarks", "probabilities")

DROPPED = "dropped"
"""Output: number of candidates beyond `max_candidates`; a server may lack it."""

_DTYPES = {
    model_config_pb2.TYPE_UINT8: np.uint8,
    model_config_pb2.TYPE_FP32: np.float32,
    model_config_pb2.TYPE_INT64: np.int64,
    model_config_pb2.TYPE_INT32: np.int32,
}

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServedModel:
    """A server's description of a whole detector.

    Attributes:
        name, version: name and version of the model; the version is empty if the server chooses.
        height, width: size of the images that it takes; -1 for any.
        is_batched: whether every tensor has a leading dimension of 1.
        outputs: its outputs, without that dimension.
        labels, roles: its labels, and the meaning of each.
        sha256: hash of its weights; empty if the server does not say.
        says: the parameters of the model's config.
    """

    name: str
    version: str
    height: int
    width: int
    takes_jpeg: bool
    is_batched: bool
    outputs: tuple[TensorInfo, ...]
    labels: tuple[str, ...]
    roles: tuple[str, ...]
    sha256: str
    says: Mapping[str, str]
    config: Any


def find_model(connection: Connection, options: ServerOptions, deadline: float) -> ServedModel:
    """Ask the server for its description of the model, and compare it with the expected one.

    Raises:
        ServerError: the server does not answer.
        ModelError: there is no such model, or it is another one; the message gives both.
        BackendError: the server does not describe its models.
    """
    try:
        config = connection.call("ModelConfig", config_request(options.model), deadline).config
    except NotFoundError as error:
        raise ModelError(
            f"the server at {connection.address} has no model {options.model}; it has"
            f" {', '.join(_list_models(connection, deadline)) or 'none'}: set server_model"
        ) from error
    model = read_config(config, options.model, f"{options.model} at {connection.address}")
    _compare(model, options, connection)
    return model


def config_request(model: str) -> Any:
    """Make the request for the server's config of the model `NAME` or `NAME:VERSION`."""
    name, _, version = model.partition(":")
    return service_pb2.ModelConfigRequest(name=name, version=version)


def _list_models(connection: Connection, deadline: float) -> Iterable[str]:
    try:
        index = connection.call("RepositoryIndex", service_pb2.RepositoryIndexRequest(), deadline)
    except BackendError:
        return []
    return sorted(f"{m.name}:{m.version}" if m.version else m.name for m in index.models)


def read_config(config: Any, model: str, called: str) -> ServedModel:
    """Read a server's config of the model `NAME` or `NAME:VERSION`.

    Raises:
        ModelError: it is not a mask detector, or does not name its labels.
    """
    name, _, version = model.partition(":")
    inputs, outputs = _tensors(config.input), _tensors(config.output)
    image = next((tensor for tensor in inputs if tensor.name == IMAGE), None)
    fits = image is not None and image.dtype == np.uint8 and image.shape[2:] == (3,)
    given = {tensor.name for tensor in outputs if tensor.dtype == np.float32}
    if not fits or not {*OUTPUTS} <= given:
        raise ModelError(
            f"{called} is not a mask detector: it takes {', '.join(map(str, inputs)) or 'nothing'}"
            f" and gives {', '.join(map(str, outputs)) or 'nothing'}; it must take {IMAGE} uint8"
            f" (H, W, 3) and give {', '.join(OUTPUTS)}: run mask-detector serve, or"
            " mask-detector export triton"
        )
    assert image is not None
    if image.shape[0] * image.shape[1] > MAX_IMAGE_PIXELS:
        raise ModelError(
            f"{called} takes images of more than {MAX_IMAGE_PIXELS:,} pixels; make it smaller"
        )
    says = {key: value.string_value for key, value in config.parameters.items()}
    try:
        labels, roles = read_labels(says)
    except (KeyError, ValueError, TypeError) as error:
        raise ModelError(
            f"{called} does not name its labels ({error!r}); its config.pbtxt needs the parameters"
            " that mask-detector export triton writes"
        ) from error
    return ServedModel(
        name,
        version,
        image.shape[0],
        image.shape[1],
        any(tensor.name == JPEG for tensor in inputs),
        config.max_batch_size > 0,
        outputs,
        labels,
        roles,
        says.get("model_sha256", ""),
        says,
        config,
    )


def _tensors(listed: Iterable[Any]) -> tuple[TensorInfo, ...]:
    return tuple(
        TensorInfo(t.name, np.dtype(_DTYPES.get(t.data_type, object)), tuple(t.dims))
        for t in listed
    )


def _compare(model: ServedModel, options: ServerOptions, connection: Connection) -> None:
    called = f"{options.model} at {connection.address}"
    if options.labels is not None and (model.labels, model.roles) != (
        options.labels,
        options.roles,
    ):
        raise ModelError(
            f"{called} has other labels: it labels faces {_describe(model.labels, model.roles)},"
            f" expected are {_describe(options.labels, options.roles or ())}; serve the same model"
        )
    if options.sha256 and not model.sha256:
        logger.warning("%s does not say the hash of its weights; they are not compared", called)
    elif options.sha256 and model.sha256 != options.sha256:
        names = ("detector_model", "classifier_model")
        holds = " and ".join(model.says[name] for name in names if name in model.says)
        raise ModelError(
            f"{called} has other weights: sha256 {model.sha256[:12]} ({holds}), expected is"
            f" {options.sha256[:12]}; serve what detector_model and classifier_model name here, or"
            " set server_sha256 to its hash or to any"
        )
    version = model.says.get("package_version")
    if version and version != __version__:
        logger.warning(
            "%s runs version %s of this package, here is %s", called, version, __version__
        )


def _describe(labels: Iterable[str], roles: Iterable[str]) -> str:
    pairs = zip(labels, roles, strict=False)
    return ", ".join(label if role in (label, "") else f"{label} ({role})" for label, role in pairs)
