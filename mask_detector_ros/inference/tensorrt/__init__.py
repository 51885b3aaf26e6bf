# SPDX-License-Identifier: Apache-2.0
"""TensorRT: sessions, engines, their builder, cache and parity check, and CUDA memory."""
