# SPDX-License-Identifier: Apache-2.0
"""Mask classification: one batch through one network for all faces of an image."""

import numpy as np
from numpy.typing import NDArray

from mask_detector_ros.errors import ModelError
from mask_detector_ros.faces import Faces
from mask_detector_ros.imaging.crops import crop_squares
from mask_detector_ros.imaging.image_pyramid import Image, ImagePyramid
from mask_detector_ros.inference.session import Session, require_probabilities
from mask_detector_ros.label_roles import read_labels

BATCH_LIMIT = 128
"""Maximum number of crops per call; bounds the memory that a crowd takes."""

_INPUT_TYPES = (np.uint8, np.float16, np.float32)


class Classifier:
    """A network with one image input and one (N, K) output of probabilities.

    Its ONNX metadata describes the input: `labels` (a JSON list of K names), `margin`, `color`
    (BGR or RGB), `layout` (NHWC or NCHW), and, unless the input is uint8, `scale` and `offset`
    with input = pixel * scale + offset. `roles` (a JSON list) gives the meaning of the labels; by
    default it is derived from their names.

    Attributes:
        label_names: names of the classes, in the order of the output.
        label_roles: the role of each label, see `roles`.
        margin: context around a face in training.
        side: side of the crops in pixels.

    Raises:
        ModelError: the network or its metadata do not have this form.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        if len(session.inputs) != 1 or len(session.outputs) != 1:
            raise self._misfit("must have one input and one output")
        (self._input,), (output,) = session.inputs, session.outputs
        try:
            self.label_names, self.label_roles = read_labels(session.metadata)
            self.margin = float(session.metadata["margin"])
            self._rgb = {"BGR": False, "RGB": True}[session.metadata["color"]]
            self._channels_first = {"NHWC": False, "NCHW": True}[session.metadata["layout"]]
            self._scale = np.float32(session.metadata["scale"])
            self._offset = np.float32(session.metadata["offset"])
        except (KeyError, ValueError, TypeError) as error:
            raise self._misfit(f"lacks usable metadata ({error!r})") from error
        if not 0 <= self.margin < np.inf:
            raise self._misfit(f"has the margin {self.margin}, which must be 0 or more")
        if self._input.dtype not in _INPUT_TYPES:
            raise self._misfit(
                f"takes {self._input.dtype}, but must take uint8, float16 or float32"
            )
        shape = self._input.shape
        if len(shape) != 4:
            raise self._misfit(f"must take a batch of images, but its input has shape {shape}")
        channels, *sides = shape[1:] if self._channels_first else (shape[3], *shape[1:3])
        if shape[0] != -1 or channels != 3 or sides[0] != sides[1] or sides[0] < 1:
            raise self._misfit(
                f"must take any number of square colour crops, but its input is {shape}"
            )
        if len(output.shape) != 2 or output.shape[1] not in (-1, len(self.label_names)):
            raise self._misfit(
                f"names {len(self.label_names)} labels, but its output has shape {output.shape}"
            )
        self.side = sides[0]

    def _misfit(self, what: str) -> ModelError:
        return ModelError(
            f"{self._session.name} {what}; a mask classifier carries labels, margin, color, layout,"
            " scale and offset in its ONNX metadata; python -m convert_to_trt.keras_to_onnx writes"
            " them (see models/README.md)"
        )

    def __call__(self, image: Image | ImagePyramid, faces: Faces, margin: float = -1.0) -> Faces:
        """Label the faces of a (H, W, 3) BGR image.

        `margin` is the context around a box; negative for the model's default.
        """
        if margin < 0:
            margin = self.margin
        rows = [np.empty((0, len(self.label_names)), np.float32)]
        for start in range(0, len(faces), BATCH_LIMIT):
            boxes = faces.boxes[start : start + BATCH_LIMIT]
            crops = crop_squares(image, boxes, self.side, margin)
            batch = self._session.run(**{self._input.name: self._to_input(crops)})
            output = self._session.outputs[0].name
            require_probabilities(batch[output], self._session.name, output)
            rows.append(batch[output])
        return faces.with_probabilities(np.concatenate(rows), self.label_names, self.label_roles)

    def _to_input(self, crops: NDArray[np.uint8]) -> NDArray[np.generic]:
        values: NDArray[np.generic] = crops[..., ::-1] if self._rgb else crops
        if self._input.dtype != np.uint8:
            values = values * self._scale + self._offset
        if self._channels_first:
            values = values.transpose(0, 3, 1, 2)
        return np.ascontiguousarray(values, self._input.dtype)
