"""Follow people from frame to frame: tracker, tracks, assignment."""
