"""Process bags without ROS: images in, detections out, resumable."""
