# SPDX-License-Identifier: Apache-2.0
"""Process bags without ROS: images in, detections out, resumable."""
