# SPDX-License-Identifier: Apache-2.0
"""Convert a trained mask classifier to the file that the robot runs."""

import os
import signal
import sys

if sys.argv[:1] == ["-m"] and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    # As in mask_detector_ros: a signal ends a command that starts without a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

# As in mask_detector_ros: keep ONNX Runtime from sending telemetry.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
