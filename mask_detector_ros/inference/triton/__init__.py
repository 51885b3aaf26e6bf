# SPDX-License-Identifier: Apache-2.0
"""A client of inference servers that speak the Open Inference Protocol with Triton's extensions."""
