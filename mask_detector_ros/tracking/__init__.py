# SPDX-License-Identifier: Apache-2.0
"""Follow people from frame to frame: tracker, tracks, assignment."""
