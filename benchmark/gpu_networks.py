# SPDX-License-Identifier: Apache-2.0
"""Compare a GPU backend with the CPU: each network, the detector, the whole cascade."""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mask_detector_ros.detector import MaskDetector
from mask_detector_ros.evaluation.agreement import BOX_LIMIT, PROBABILITY_LIMIT, Agreement
from mask_detector_ros.faces import Faces
from mask_detector_ros.inference import EngineOptions, create_session
from mask_detector_ros.inference.gpu_parity import check_parity
from mask_detector_ros.inference.session import Session
from mask_detector_ros.models import OWN_LABELS, find_detector, find_networks
from mask_detector_ros.sources.sample_scene import SampleScene

BATCHES = (1, 2, 3, 4, 5, 8, 15, 16, 17, 32, 64, 100, 128)

Parameters = Mapping[str, Any]
"""Parameters of `MaskDetector.load`."""


def networks(detector_model: str) -> dict[str, bytes]:
    """The networks to compare between GPU and CPU: the detector's, and the classifier if it needs
    one, by name."""
    return find_networks(detector_model, OWN_LABELS)


def shapes_to_try(session: Session) -> list[dict[str, tuple[int, ...]]]:
    """Input shapes at which GPU and CPU are compared: batch sizes up and down again, or images of
    several sizes."""
    (tensor,) = session.inputs
    if tensor.shape[-1] == 3 and -1 in tensor.shape[1:]:
        sides = ((32, 32), (96, 128), (384, 512), (384, 512), (384, 512), (576, 1024), (32, 992))
        return [{tensor.name: (1, *side, 3)} for side in sides]
    if -1 in tensor.shape[1:]:
        sides = ((12, 12), (97, 131), (144, 640), (144, 640), (175, 768), (256, 512), (12, 2560))
        return [{tensor.name: (1, 3, *side)} for side in sides]
    return [{tensor.name: (batch, *tensor.shape[1:])} for batch in (*BATCHES, *reversed(BATCHES))]


def check_network(model: bytes, name: str, backend: str, options: EngineOptions) -> dict[str, Any]:
    """Load one network on the GPU and compare it with the CPU at all these shapes."""
    start = time.perf_counter()
    session = create_session(model, name, backend, options=options)
    seconds = time.perf_counter() - start
    reference = create_session(model, name, "onnxruntime")
    precision = options.precision if backend == "tensorrt" else "fp32"
    largest = check_parity(session, reference, shapes_to_try(reference), precision)
    return {"device": session.device, "load_s": round(seconds, 1), "largest_difference": largest}


def sequence(scene: SampleScene) -> Iterator[NDArray[np.uint8]]:
    """Test frames for the networks on a GPU with one face, many, none, many: the sequence in which
    MTCNN on TensorRT 7 lost faces."""
    many, faces = scene.render(0)
    x1, y1, x2, y2 = faces.boxes[0].astype(int)
    one = np.zeros_like(many)
    margin = (x2 - x1) // 2
    area = np.s_[max(y1 - margin, 0) : y2 + margin, max(x1 - margin, 0) : x2 + margin]
    one[area] = many[area]
    yield from (one, many, np.zeros_like(many), many, one, scene.render(40)[0])


def check_faces(parameters: Parameters) -> dict[str, Any]:
    """Compare the faces of the whole detector on GPU and CPU, twice over the sequence above."""
    on_gpu = MaskDetector.load(**parameters)
    on_cpu = MaskDetector.load(**{**parameters, "backend": "onnxruntime"})
    images = list(sequence(SampleScene(640, 480)))
    pairs = [(on_cpu(image), on_gpu(image)) for image in images + images]
    agreement = require_same_faces(pairs)
    return {"device": on_gpu.device, "faces": [len(found) for _, found in pairs], **agreement}


def require_same_faces(pairs: Iterable[tuple[Faces, Faces]]) -> dict[str, float]:
    """Return the largest differences of boxes and probabilities between GPU and CPU; raise if the
    faces differ."""
    agreement = Agreement.of(pairs)
    box = float(agreement.boxes.max(initial=0))
    probability = float(agreement.probabilities.max(initial=0))
    assert not agreement.missing, f"{agreement.missing} faces are missing"
    assert not agreement.extra, f"{agreement.extra} faces are not found on the CPU"
    assert box <= BOX_LIMIT, f"boxes differ by {box:.2f} px"
    assert probability <= PROBABILITY_LIMIT, f"probabilities differ by {probability:.3f}"
    return {"box_px": box, "probability": probability}


def write_cascade(path: Path, parameters: Parameters, half: bool) -> None:
    """Write the single-file cascade of a detector for images of 640x480, to check it on the GPU."""
    from convert_to_trt.cascade_settings import TWO_STAGE_SLOTS, GraphSettings
    from convert_to_trt.cascade_to_onnx import compose

    settings = GraphSettings(640, 480, half=half)
    if "detection_thresholds" in parameters:
        settings = replace(settings, detection_thresholds=parameters["detection_thresholds"])
    if "proposal" in find_detector(parameters["detector_model"]):
        settings = replace(settings, decide_slots=TWO_STAGE_SLOTS, half=False)
    model = compose(parameters["detector_model"], OWN_LABELS, settings)
    path.write_bytes(model.SerializeToString())
