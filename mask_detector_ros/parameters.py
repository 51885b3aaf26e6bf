# SPDX-License-Identifier: Apache-2.0
"""The detector's parameter table, shared by Python keywords, command options and ROS.

The node adds more in `mask_detector_ros.ros.node_parameters`. Both tables generate
`config/mask_detector.yaml` and the docs' page.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from mask_detector_ros.errors import ParameterError
from mask_detector_ros.imaging.annotate import PRIVACY
from mask_detector_ros.imaging.image_size import MAX_IMAGE_PIXELS
from mask_detector_ros.inference import BACKENDS, SERVER_BACKENDS
from mask_detector_ros.parameter_type import Parameter

SERVER_PARAMETERS = (
    Parameter(
        "server_url",
        "",
        "Inference server for the backends auto and triton, such as grpc://host:8001, or "
        "grpcs://host:8001 for TLS; empty means none.",
        pattern=r"|(grpcs?://)?([\w.-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?/?",
        rule="HOST, grpc://HOST:PORT, grpcs://HOST:PORT for TLS, or empty",
    ),
    Parameter(
        "server_model",
        "mask_detector",
        "Model on the server: NAME, or NAME:VERSION; the server chooses the version otherwise.",
        pattern=r"[\w.-]+(:\d+)?",
        rule="NAME or NAME:VERSION",
    ),
    Parameter(
        "server_deadline",
        0.25,
        "Time in which the server must answer. After that, auto processes the frame on this "
        "machine, and triton drops it.",
        limits=(0.01, 600.0),
        unit="s",
    ),
    Parameter(
        "server_patience",
        0.0,
        "Time for which triton resends a frame while the server is unavailable or overloaded; 0 "
        "sends it once, so that the newest frame of a camera is processed.",
        limits=(0.0, 3600.0),
        unit="s",
    ),
    Parameter(
        "server_image_format",
        "auto",
        "Transport of images to the server: raw gives exactly the same results as this machine, "
        "jpeg needs a tenth of the bandwidth; auto uses raw for a server on this machine, and "
        "jpeg otherwise.",
        choices=("auto", "raw", "jpeg"),
    ),
    Parameter(
        "server_jpeg_quality",
        90,
        "JPEG quality of the images sent to the server; one that came as JPEG is sent as it is.",
        limits=(1, 100),
    ),
    Parameter(
        "server_ca", "", "PEM file of the certificates that TLS trusts; empty means the system's."
    ),
    Parameter("server_token_file", "", "File with the server's token; empty means none."),
    Parameter("server_certificate", "", "PEM file of this client's certificate; empty means none."),
    Parameter("server_key", "", "PEM file of that certificate's private key."),
    Parameter(
        "server_sha256",
        "",
        "Hash of the weights that the server must have; empty means those of detector_model and "
        "classifier_model, any accepts all weights with the same labels.",
        pattern=r"(any|[0-9a-f]{64})?",
        rule="64 hexadecimal digits, any, or empty",
    ),
)

LOCAL_PARAMETERS = (
    Parameter(
        "backend",
        "auto",
        "Inference library. auto starts on the CPU and, if there is a GPU, switches to TensorRT "
        "or else CUDA (ONNX Runtime) as soon as it is ready; with server_url it uses the server "
        "while that answers in time. triton uses only an inference server.",
        choices=("auto", *BACKENDS, *SERVER_BACKENDS),
    ),
    Parameter(
        "precision",
        "auto",
        "Precision of the classifier in TensorRT. auto uses fp16, or fp32 if fp16 results "
        "differ. The networks that place faces always compute in fp32.",
        choices=("auto", "fp32", "fp16"),
    ),
    Parameter(
        "engine_cache_dir",
        "",
        "Folder of the TensorRT engine cache; empty means ~/.cache/mask_detector_ros/engines.",
    ),
    Parameter("device", 0, "Number of the GPU to use.", limits=(0, 63)),
    Parameter(
        "threads",
        0,
        "CPU threads for inference; 0 uses all cores available to the process.",
        limits=(0, 256),
    ),
    Parameter(
        "detector_model",
        "mtcnn_two_stage",
        "Face detector: mtcnn_two_stage (one pass over the frame and one crop per face, which "
        "also gives the label), mtcnn_masked (three stages, fine-tuned on masked faces), mtcnn "
        "(three stages, public weights), a folder with the ONNX files of the stages, or the path "
        "of a single-file cascade.",
    ),
    Parameter(
        "classifier_model",
        "auto",
        "Mask classifier: auto (the detector's own labels, or mask_classifier if it has none), a "
        "name in models.yaml, or the path of an ONNX file.",
    ),
    Parameter(
        "min_face_size",
        20,
        "Smallest face to search for; the cost falls with its square.",
        limits=(12, 2000),
        unit="px",
        live=True,
    ),
    Parameter(
        "pyramid_factor",
        0.709,
        "Scale factor between pyramid levels of the three-stage detectors; smaller is faster and "
        "finds fewer faces.",
        limits=(0.3, 0.95),
        live=True,
    ),
    Parameter(
        "detection_thresholds",
        (0.6, 0.7, 0.7),
        "Score thresholds of the three stages; mtcnn_two_stage uses the first and the last.",
        limits=(0.0, 1.0),
        live=True,
    ),
    Parameter(
        "max_faces",
        100,
        "Maximum number of faces per image, best scores first; 0 means no limit.",
        limits=(0, 10000),
        live=True,
    ),
    Parameter(
        "max_candidates",
        500,
        "Maximum number of face candidates per image that the later stages process, best scores "
        "first; it bounds the time and memory of a frame.",
        limits=(10, 2000),
        live=True,
    ),
    Parameter(
        "max_image_pixels",
        MAX_IMAGE_PIXELS,
        "Maximum width times height of an image; a larger one is rejected, a compressed one before "
        "it is decoded.",
        limits=(4096, 1_000_000_000),
        unit="px",
        live=True,
    ),
    Parameter(
        "margin",
        -1.0,
        "Context around a face in the classifier's crop, as a fraction of the longer side of the "
        "box; a negative value uses the margin that the classifier was trained with.",
        limits=(-1.0, 2.0),
        live=True,
    ),
)

DETECTOR_PARAMETERS = (*LOCAL_PARAMETERS, *SERVER_PARAMETERS)

TRACKING_PARAMETERS = (
    Parameter(
        "tracking",
        True,
        "Follow people from frame to frame: track ids, ages, unique people, alerts.",
        live=True,
    ),
    Parameter(
        "smoothing",
        1.0,
        "Time constant for smoothing a track's label over its observations; 0 uses the label of "
        "each frame alone.",
        limits=(0.0, 60.0),
        unit="s",
        live=True,
    ),
    Parameter(
        "search_every",
        1,
        "Run full-frame detection on every Nth frame and search only near known faces in between. "
        "Larger is faster but delays new faces by up to N-1 frames.",
        limits=(1, 100),
        live=True,
    ),
)

DRAWING_PARAMETERS = (
    Parameter(
        "privacy", "off", "How to hide faces in annotated images.", choices=PRIVACY, live=True
    ),
)


def check_parameters(table: Iterable[Parameter], given: Mapping[str, Any]) -> dict[str, Any]:
    """Complete and validate the detector's parameters: the given value or the default of each.

    Raises:
        ParameterError: an unknown name, a wrong type, or a value out of range.
    """
    known = {parameter.name: parameter for parameter in table}
    for name in given:
        if name not in known:
            raise ParameterError(f"unknown parameter {name}; there are {', '.join(known)}")
    return {
        name: parameter.check(given[name]) if name in given else parameter.default
        for name, parameter in known.items()
    }
