# SPDX-License-Identifier: Apache-2.0
"""The whole cascade and the classifier in one network: a file, or a model on a server."""

import json
import logging

import numpy as np
from numpy.typing import NDArray

from mask_detector_ros.errors import ImageError, ModelError
from mask_detector_ros.faces import Faces
from mask_detector_ros.imaging.boxes import FloatArray
from mask_detector_ros.inference.session import Session, require_finite, require_probabilities
from mask_detector_ros.label_roles import read_roles
from mask_detector_ros.mtcnn.candidate_budget import Overrun
from mask_detector_ros.mtcnn.detection_settings import DetectionSettings

logger = logging.getLogger(__name__)


class CascadeGraph:
    """A network made by `convert_to_trt.cascade_to_onnx`, or a detector on a server.

    In a file, image size, minimum face, pyramid, thresholds, margin and maximum number of faces are
    fixed; only the parameter `max_faces` has an effect. A server may take images of any size, and
    the live parameters with each.

    Attributes:
        image_size: (height, width) of the images; None for any.

    Raises:
        ModelError: the network does not have this form.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        try:
            settings = json.loads(session.metadata["cascade"])
            self.label_names = tuple(settings["labels"])
            self.label_roles = read_roles(self.label_names, settings.get("roles"))
            self._height, self._width = int(settings["height"]), int(settings["width"])
        except (KeyError, ValueError, TypeError) as error:
            raise ModelError(
                f"{session.name} is not a single-file cascade ({error!r}); detector_model takes a "
                "file made by convert_to_trt.cascade_to_onnx, or a folder with the stages"
            ) from error
        (tensor,) = session.inputs
        wanted = {"boxes", "scores", "landmarks", "probabilities", "dropped"}
        names = {output.name for output in session.outputs}
        if tensor.shape != (self._height, self._width, 3) or not wanted <= names:
            raise ModelError(
                f"{session.name} takes {tensor} and gives {', '.join(sorted(names))}, which its"
                " metadata contradicts; make it again with convert_to_trt.cascade_to_onnx"
            )
        self._input = tensor.name
        self._warned = False
        self.overrun: Overrun | None = None
        is_fixed = min(self._height, self._width) > 0
        self.image_size = (self._height, self._width) if is_fixed else None

    def __call__(
        self,
        image: NDArray[np.uint8],
        settings: DetectionSettings,
        near: FloatArray | None = None,
    ) -> Faces:
        """Find and label the faces of a (H, W, 3) BGR image, best first.

        It always runs full-frame detection and ignores `near`.

        Raises:
            ImageError: the image size differs from the network's.
        """
        if self.image_size not in (None, image.shape[:2]):
            raise ImageError(
                f"{self.session.name} was made for images of {self._width}x{self._height}, got"
                f" {image.shape[1]}x{image.shape[0]}; make another with"
                f" convert_to_trt.cascade_to_onnx --image {image.shape[1]}x{image.shape[0]}"
            )
        self.session.configure(vars(settings))
        out = self.session.run(**{self._input: np.ascontiguousarray(image)})
        if self.image_size and out["dropped"].any() and not self._warned:
            logger.warning(
                "%s has too few slots for this image (%s candidates were dropped): faces may be "
                "missing; make it again with more slots",
                self.session.name,
                ", ".join(f"{lost:.0f}" for lost in out["dropped"]),
            )
            self._warned = True
        for name in ("scores", "probabilities"):
            require_probabilities(out[name], self.session.name, name)
        for name in ("boxes", "landmarks"):
            require_finite(out[name], self.session.name, name)
        found = out["scores"] > 0
        kept = int(found.sum())
        self.overrun = Overrun.of(kept, kept + int(out["dropped"].sum()))
        faces = Faces(
            out["boxes"][found],
            out["scores"][found],
            out["landmarks"][found],
            out["probabilities"][found],
            self.label_names,
            label_roles=self.label_roles,
        )
        return faces[: settings.max_faces] if settings.max_faces else faces
