# SPDX-License-Identifier: Apache-2.0
"""Benchmarks that need ROS, a GPU or time: latency, memory, faults, tracking, precision."""

import os

# As in mask_detector_ros: keep ONNX Runtime from sending telemetry.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
