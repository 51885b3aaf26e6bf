# SPDX-License-Identifier: Apache-2.0
"""Benchmarks that need ROS, a GPU or time: latency, memory, faults, tracking, precision."""

import os

# As in mask_detector_ros: ONNX Runtime is not to report its use.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
