# SPDX-License-Identifier: Apache-2.0
"""Detect faces in images and classify their masks: a library, a command and ROS 2 nodes."""

import os
import signal
import sys
from pkgutil import extend_path
from typing import TYPE_CHECKING, Any

_command = sys.argv[0].rpartition("/")[2] if sys.argv else ""
if _command in ("-m", "mask-detector") and (
    signal.getsignal(signal.SIGINT) is signal.default_int_handler
):
    # One of our commands starts. Until it installs its handlers, a signal ends it without a
    # traceback from an import.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

if TYPE_CHECKING:
    from mask_detector_ros.detector import MaskDetector
    from mask_detector_ros.faces import Faces

# The generated messages (mask_detector_ros.msg) are not installed into the source tree;
# this lets tests and nodes that run from the source tree import them.
__path__ = extend_path(__path__, __name__)

# ONNX Runtime 1.32 and newer writes a device id into the home folder and sends telemetry. It reads
# this variable once, on import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__all__ = ["Faces", "MaskDetector"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import the library on first use: importing only the messages does not load NumPy."""
    if name == "Faces":
        from mask_detector_ros.faces import Faces

        return Faces
    if name == "MaskDetector":
        from mask_detector_ros.detector import MaskDetector

        return MaskDetector
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
