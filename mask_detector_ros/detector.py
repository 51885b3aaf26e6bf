"""MaskDetector: an image in, labelled faces out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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
from mask_detector_ros.tracking import Tracker


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

    def stream(self, *, tracking: bool = True, smoothing: float = 1.0) -> FaceStream:
        """A run of images of one camera, in which people keep their ids.

        Args:
            tracking, smoothing: as in `mask_detector_ros.parameters`.
        """
        return FaceStream(self, tracking=tracking, smoothing=smoothing)


class FaceStream:
    """A detector that looks at the images of one camera, one after the other.

        stream = detector.stream()
        for stamp, image in frames:
            faces = stream(image, stamp)
            print(faces.track_ids, faces.labels, stream.count_people())

    Several streams can share a detector; one thread at a time may call them.
    """

    def __init__(self, detector: MaskDetector, *, tracking: bool, smoothing: float) -> None:
        self._detector = detector
        self._tracker = Tracker(smoothing)
        self._tracking = tracking

    def configure(self, *, tracking: bool, smoothing: float) -> None:
        """Take over the parameters from the next image on."""
        if not tracking:
            self._tracker.reset()
        self._tracking, self._tracker.smoothing = tracking, smoothing

    def reset(self) -> None:
        """Forget everybody seen so far; ids are not used again."""
        self._tracker.reset()

    def __call__(self, image: NDArray[np.uint8], stamp: float) -> Faces:
        """Find, label and follow the faces of an image; see `MaskDetector.__call__`.

        Args:
            stamp: when the image was taken, seconds of any clock.
        """
        return self.follow(self._detector(image), stamp)

    def follow(self, faces: Faces, stamp: float) -> Faces:
        """The same of faces that the detector has found already."""
        return self._tracker.update(faces, stamp) if self._tracking else faces

    def count_people(self) -> dict[str, int]:
        """How many people were seen since the start or the last reset, by label."""
        names = self._detector.label_names
        return dict(zip(names, self._tracker.count_people(len(names)), strict=True))

    def missed_boxes(self) -> NDArray[np.float32]:
        """(M, 4) where people should be whose face the last image did not show."""
        return self._tracker.missed_boxes()

    def raise_alerts(self, labels: Iterable[str], after: float) -> list[tuple[int, float]]:
        """Who has had one of these labels for `after` seconds, once each: (track id, seconds)."""
        names = self._detector.label_names
        wanted = {names.index(label) for label in labels if label in names}
        return self._tracker.raise_alerts(wanted, after)
