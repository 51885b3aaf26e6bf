"""Speed of the face detector against others, and memory of the detector node."""
