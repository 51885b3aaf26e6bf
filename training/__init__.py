# SPDX-License-Identifier: Apache-2.0
"""How the shipped models were made; needs the extra `train`, and no part of the library."""

import os

# As in mask_detector_ros: ONNX Runtime is not to report its use.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
