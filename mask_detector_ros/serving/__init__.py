# SPDX-License-Identifier: Apache-2.0
"""An inference server of the Open Inference Protocol: NVIDIA Triton around `MaskDetector`."""
