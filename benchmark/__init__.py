"""Speed of the face detector against others, and memory of the detector node."""

import os

# As in mask_detector_ros: ONNX Runtime is not to report its use.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
