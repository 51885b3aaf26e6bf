# SPDX-License-Identifier: Apache-2.0
"""Convert a trained mask classifier to the file that the robot runs."""

import os

# As in mask_detector_ros: keep ONNX Runtime from sending telemetry.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
