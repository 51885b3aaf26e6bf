"""`make demo`: camera node, detector node and recorder as processes, and a report."""
