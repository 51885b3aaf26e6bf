"""MaskDetector: an image in, labelled faces out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mask_detector_ros.classifier import Classifier
from mask_detector_ros.errors import ImageError
from mask_detector_ros.faces import Faces
from mask_detector_ros.inference import choose_backend, create_session
from mask_detector_ros.models import find_classifier, find_detector
from mask_detector_ros.mtcnn.cascade import Cascade, CascadeSettings
from mask_detector_ros.parameters import DETECTOR_PARAMETERS, check_parameters


class MaskDetector:
    """Finds the faces of an image and says who wears a mask.

        detector = MaskDetector.load(min_face_size=40)
        faces = detector(cv2.imread("people.jpg"))
        print(faces.labels, faces.boxes)

    One thread at a time may call it.

    Attributes:
        label_names: the labels that the classifier knows.
        backend: the library that runs the networks.
        device: where it runs them.
    """

    def __init__(self, cascade: Cascade, classifier: Classifier, values: Mapping[str, Any]) -> None:
        self._cascade = cascade
        self._classifier = classifier
        self.label_names = classifier.label_names
        self.backend = cascade.pnet.backend
        self.device = cascade.pnet.device
        self.configure(values)

    @classmethod
    def load(cls, **parameters: Any) -> MaskDetector:
        """Load the models.

        Args:
            parameters: any of `backend`, `threads`, `detector_model`, `classifier_model`,
                `min_face_size`, `pyramid_factor`, `detection_thresholds`, `max_faces` and
                `margin`; `mask_detector_ros.parameters` says what each means.

        Raises:
            ParameterError: an unknown parameter or a value out of its range.
            ModelError: a model is missing, damaged, or not of the expected form.
            BackendError: the backend cannot serve on this machine.
        """
        values = check_parameters(DETECTOR_PARAMETERS, parameters)
        backend, threads = choose_backend(values["backend"]), values["threads"]
        stages = {
            name: create_session(model, name, backend, threads)
            for name, model in find_detector(values["detector_model"]).items()
        }
        classifier = create_session(
            find_classifier(values["classifier_model"]),
            values["classifier_model"],
            backend,
            threads,
        )
        return cls(Cascade(**stages), Classifier(classifier), values)

    def configure(self, values: Mapping[str, Any]) -> None:
        """Take over the live parameters, checked already, from the next image on."""
        names = CascadeSettings.__dataclass_fields__
        self._settings = (
            CascadeSettings(**{name: values[name] for name in names}),
            values["margin"],
        )

    def __call__(self, image: NDArray[np.uint8]) -> Faces:
        """Find and label the faces of an image, best face score first.

        Args:
            image: (H, W, 3) uint8 in BGR order, as OpenCV reads it.

        Raises:
            ImageError: the array is not such an image.
        """
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3:
            got = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image)
            raise ImageError(f"need a (height, width, 3) uint8 BGR image, got {got}")
        if image.shape[2] != 3 or image.size == 0:
            raise ImageError(f"need a (height, width, 3) uint8 BGR image, got {image.shape}")
        cascade_settings, margin = self._settings
        faces = self._cascade(image, cascade_settings)
        return self._classifier(image, faces, margin)
