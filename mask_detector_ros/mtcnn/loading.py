# SPDX-License-Identifier: Apache-2.0
"""Load the cascade that fits a detector's networks."""

from collections.abc import Mapping

from mask_detector_ros.inference import EngineOptions, create_session
from mask_detector_ros.inference.session import Session
from mask_detector_ros.mtcnn.three_stage_cascade import Cascade
from mask_detector_ros.mtcnn.two_stage_cascade import TwoStageCascade


def load_cascade(
    networks: Mapping[str, bytes],
    backend: str = "auto",
    threads: int = 0,
    options: EngineOptions | None = None,
) -> Cascade | TwoStageCascade:
    """Load the two-stage or three-stage cascade from these ONNX files, given by stage.

    Raises:
        BackendError: the backend is not available.
        ModelError: a model cannot be loaded, or does not fit its stage.
    """
    # The small networks of three stages run in parallel, each call in one thread.
    concurrent = "proposal" not in networks
    return assemble_cascade(
        {
            stage: create_session(model, stage, backend, threads, options, concurrent)
            for stage, model in networks.items()
        }
    )


def assemble_cascade(sessions: Mapping[str, Session]) -> Cascade | TwoStageCascade:
    """Assemble the two-stage or three-stage cascade over these loaded sessions, given by stage.

    Raises:
        ModelError: a session's network does not fit its stage.
    """
    kind = TwoStageCascade if "proposal" in sessions else Cascade
    return kind(**sessions)
