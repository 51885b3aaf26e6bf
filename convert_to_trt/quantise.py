# SPDX-License-Identifier: Apache-2.0
"""Quantise a mask classifier to int8 with scales from face crops, and measure the cost in
accuracy."""

import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime import quantization

from convert_to_trt.conversion_parity import classify_crops, square_crop
from mask_detector_ros.classifier import Classifier
from mask_detector_ros.errors import ModelError, ParameterError
from mask_detector_ros.inference import create_session
from mask_detector_ros.inference.session import Array, Session
from mask_detector_ros.sources import list_images, read_image

FEWEST_CROPS = 20
MOST_CROPS = 512
"""Maximum number of crops for scales; more than a few hundred add nothing."""

QUANTISED_OPERATIONS = ["Conv", "MatMul", "Gemm"]
"""Layers to quantise, except the first and the last of a network: quantising the first, whose input
is pixels, reduced the accuracy from 0.85 to 0.66; without it, it stays at 0.85."""


@dataclass(frozen=True)
class Cost:
    """The accuracy cost of int8, on crops that were not used for its scales.

    Attributes:
        calibration_crops, test_crops: number of crops.
        largest, mean: differences of the probabilities.
        same_label: fraction of the crops whose most probable label is the same.
        accuracy_before, accuracy_after: fraction of correct labels, if the crops are in folders
            named after labels; otherwise None.
    """

    calibration_crops: int
    test_crops: int
    largest: float
    mean: float
    same_label: float
    accuracy_before: float | None
    accuracy_after: float | None

    def to_record(self) -> dict[str, Any]:
        """The accuracy cost of int8 as a JSON-ready dictionary."""
        return asdict(self)

    def describe(self) -> str:
        """The accuracy cost of int8 as a line of text."""
        text = (
            f"int8 scales from {self.calibration_crops} crops; on {self.test_crops} others:"
            f" same label {self.same_label:.1%}, mean |dp| {self.mean:.2g}, max {self.largest:.2g}"
        )
        if self.accuracy_before is not None:
            text += f", accuracy {self.accuracy_before:.1%} -> {self.accuracy_after:.1%}"
        return text


class _Recorder(Session):
    """Records the arrays that the node feeds the network, to calibrate int8 scales."""

    def __init__(self, session: Session) -> None:
        self.name, self.backend, self.device = session.name, session.backend, session.device
        self.inputs, self.outputs = session.inputs, session.outputs
        self.metadata = session.metadata
        self.fed: list[dict[str, Array]] = []
        self._session = session

    def _run(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        self.fed.append(dict(arrays))
        return self._session.run(**arrays)


class _Reader(quantization.CalibrationDataReader):
    def __init__(self, fed: Sequence[dict[str, Array]]) -> None:
        self._rest: Iterator[dict[str, Array]] = iter(fed)

    def get_next(self) -> dict[str, Array] | None:
        """The next arrays for int8 calibration, None after the last."""
        return next(self._rest, None)


def quantise(model: bytes, name: str, folder: Path) -> tuple[bytes, Cost]:
    """Quantise a classifier's convolutions to int8 in QDQ form; return it with the cost.

    Args:
        model: serialised ONNX of a mask classifier, in float32.
        name: its name in errors.
        folder: folder of face crops, or of one subfolder per label; every second crop is reserved
            for measuring the cost.

    Raises:
        ModelError: it is not a mask classifier, or cannot be quantised.
        ParameterError: the folder holds too few crops.
    """
    session = _Recorder(create_session(model, name, "onnxruntime"))
    classifier = Classifier(session)
    if not folder.is_dir():
        raise ParameterError(f"--crops must be a folder of face crops, got {folder}")
    by_label = [folder / label for label in classifier.label_names if (folder / label).is_dir()]
    paths = [path for place in by_label or [folder] for path in list_images(place)]
    paths = paths[:: max(1, len(paths) // MOST_CROPS)]
    if len(paths) < FEWEST_CROPS:
        raise ParameterError(
            f"{folder} holds {len(paths)} images, int8 needs {FEWEST_CROPS} or more; a few "
            "hundred from your own camera are best"
        )
    crops = np.stack([square_crop(read_image(path), classifier.side) for path in paths])
    classify_crops(classifier, crops[::2])
    content = _quantise(model, name, session.fed)
    test = crops[1::2]
    before = classify_crops(classifier, test)
    quantised = create_session(content, f"{name} in int8", "onnxruntime")
    after = classify_crops(Classifier(quantised), test)
    right = _known_labels(paths[1::2], classifier.label_names)
    difference = np.abs(before - after)
    return content, Cost(
        calibration_crops=len(crops) - len(test),
        test_crops=len(test),
        largest=float(difference.max()),
        mean=float(difference.mean()),
        same_label=float(np.mean(before.argmax(axis=1) == after.argmax(axis=1))),
        accuracy_before=_accuracy(before, right),
        accuracy_after=_accuracy(after, right),
    )


def _quantise(model: bytes, name: str, fed: Sequence[dict[str, Array]]) -> bytes:
    # At every call it recommends a preparation that these networks do not need.
    logging.getLogger().addFilter(_is_no_recommendation)
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        network = onnx.load_from_string(model)
        for number, node in enumerate(network.graph.node):
            node.name = f"node_{number}"
        layers = [n.name for n in network.graph.node if n.op_type in QUANTISED_OPERATIONS]
        onnx.save(network, source)
        try:
            quantization.quantize_static(
                source,
                target,
                _Reader(fed),
                quant_format=quantization.QuantFormat.QDQ,
                op_types_to_quantize=QUANTISED_OPERATIONS,
                nodes_to_exclude=[*layers[:1], *layers[-1:]],
                per_channel=True,
                activation_type=quantization.QuantType.QInt8,
                weight_type=quantization.QuantType.QInt8,
                calibrate_method=quantization.CalibrationMethod.MinMax,
                # The form that TensorRT accepts: symmetric scales, float weights followed by QDQ,
                # float biases.
                extra_options={
                    "ActivationSymmetric": True,
                    "WeightSymmetric": True,
                    "AddQDQPairToWeight": True,
                    "QuantizeBias": False,
                },
            )
        except (ValueError, RuntimeError, KeyError) as error:
            raise ModelError(f"{name} cannot be quantised ({error}); use fp16") from error
        return target.read_bytes()


def _is_no_recommendation(record: logging.LogRecord) -> bool:
    return "pre-processing" not in record.getMessage()


def _known_labels(paths: Sequence[Path], labels: tuple[str, ...]) -> NDArray[np.int64] | None:
    folders = [path.parent.name for path in paths]
    if not set(folders) <= set(labels):
        return None
    return np.array([labels.index(name) for name in folders])


def _accuracy(probabilities: NDArray[np.float32], right: NDArray[np.int64] | None) -> float | None:
    return None if right is None else float(np.mean(probabilities.argmax(axis=1) == right))
