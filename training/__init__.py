# SPDX-License-Identifier: Apache-2.0
"""Code that made the shipped models. It needs the extra `train`; the library does not use it."""

import os

# As in mask_detector_ros: keep ONNX Runtime from sending telemetry.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
