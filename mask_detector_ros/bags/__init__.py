"""Bags without ROS: images in, what is seen in them out, resumable."""
