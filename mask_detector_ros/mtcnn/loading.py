"""The cascade for a detector's networks."""

from __future__ import annotations

from collections.abc import Mapping

from mask_detector_ros.inference import EngineOptions
from mask_detector_ros.inference.base import Session
from mask_detector_ros.mtcnn.cascade import Cascade
from mask_detector_ros.mtcnn.two_stage_cascade import TwoStageCascade


def assemble_cascade(sessions: Mapping[str, Session]) -> Cascade | TwoStageCascade:
    """The cascade of two or of three stages over these sessions, by stage.

    Raises:
        ModelError: a session's network is not the stage that it is given for.
    """
    kind = TwoStageCascade if "proposal" in sessions else Cascade
    return kind(**sessions)


def load_cascade(
    networks: Mapping[str, bytes],
    backend: str = "auto",
    threads: int = 0,
    options: EngineOptions | None = None,
) -> Cascade | TwoStageCascade:
    """The cascade of two or of three stages that these ONNX files are for, by stage.

    Raises:
        BackendError: the backend is not there.
        ModelError: a model cannot be loaded, or is not the stage that it is given for.
    """
    kind = TwoStageCascade if "proposal" in networks else Cascade
    return kind.load(networks, backend, threads, options)
