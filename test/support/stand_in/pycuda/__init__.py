# SPDX-License-Identifier: Apache-2.0
"""A stand-in of pycuda whose GPU memory is the host's; see test/inference/stand_in/README.md."""
