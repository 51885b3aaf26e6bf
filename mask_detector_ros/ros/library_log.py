# SPDX-License-Identifier: Apache-2.0
"""Forward the library's Python logging to the node's log."""

import logging
from typing import Any

import rclpy

from mask_detector_ros.redaction import hide_passwords


class NodeLogHandler(logging.Handler):
    """Logging handler that passes the library's records to a node's logger."""

    def __init__(self, node_logger: Any) -> None:
        super().__init__(logging.INFO)
        self._node_logger = node_logger

    def emit(self, record: logging.LogRecord) -> None:
        """Pass one record of the library's log to the node's while the ROS context is valid."""
        if not rclpy.ok():
            return
        # One call site per level: rclpy rejects a call site that changes its severity.
        text = hide_passwords(record.getMessage())
        if record.levelno >= logging.ERROR:
            self._node_logger.error(text)
        elif record.levelno >= logging.WARNING:
            self._node_logger.warning(text)
        else:
            self._node_logger.info(text)


def forward_library_log(node_logger: Any) -> None:
    """Send the library's reports, such as backends and engine builds, to a node's log."""
    library = logging.getLogger("mask_detector_ros")
    library.setLevel(logging.INFO)
    library.handlers = [NodeLogHandler(node_logger)]
    library.propagate = False
