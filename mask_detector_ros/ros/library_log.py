"""What the library says to Python's logging, in the node's log."""

from __future__ import annotations

import logging
from typing import Any

import rclpy


class NodeLogHandler(logging.Handler):
    """Hands records of `mask_detector_ros` to the logger of a node."""

    def __init__(self, node_logger: Any) -> None:
        super().__init__(logging.INFO)
        self._node_logger = node_logger

    def emit(self, record: logging.LogRecord) -> None:
        """Log one record, as long as there is a ROS to log to."""
        if not rclpy.ok():
            return
        # One call site each: rclpy rejects a site that changes its severity.
        text = record.getMessage()
        if record.levelno >= logging.ERROR:
            self._node_logger.error(text)
        elif record.levelno >= logging.WARNING:
            self._node_logger.warning(text)
        else:
            self._node_logger.info(text)


def forward_library_log(node_logger: Any) -> None:
    """Let a node's log have what the library reports: which backend, which engine is built."""
    library = logging.getLogger("mask_detector_ros")
    library.setLevel(logging.INFO)
    library.handlers = [NodeLogHandler(node_logger)]
    library.propagate = False
