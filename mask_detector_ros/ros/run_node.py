"""Running a node as a process: start, spin, signals, exit code."""

from __future__ import annotations

import functools
import re
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, Protocol, TypeVar

import rclpy
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation as _rclpy
from rclpy.node import Node

from mask_detector_ros.errors import MaskDetectorError
from mask_detector_ros.ros.diagnostics import WARNING_PERIOD

WAKE_PERIOD = 0.5
"""Seconds after which a process without work looks whether a signal has come: on a busy machine
the wake-up that a signal sends to the executor is lost at times, as `make soak` showed."""

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class RunnableNode(Protocol):
    """A node with work of its own.

    Attributes:
        failed: whether that work broke down, so that the process must end with 1.
    """

    failed: bool

    def start(self) -> None:
        """Begin, once the node is in an executor."""

    def close(self) -> None:
        """End all work and destroy the node."""


def run_node(make: Callable[[], RunnableNode], args: list[str] | None = None) -> int:
    """Spin a node until it is asked to stop; return the exit code.

    SIGINT and SIGTERM end it with 0. An error that is raised on purpose, at the start or while
    it spins, is printed as one line and ends it with 1.
    """
    # Python's own handler raises KeyboardInterrupt wherever the main thread is, which inside
    # rclpy's conversions of messages turns into another exception. With this one, SIGINT ends
    # as SIGTERM does: rclpy's handler, which `init` puts before it, shuts the context down.
    signal.signal(signal.SIGINT, lambda number, frame: None)
    try:
        rclpy.init(args=args)
    except (_rclpy.RCLError, _rclpy.UnknownROSArgsError) as error:
        print(f"error: wrong ROS arguments: {str(error).splitlines()[0]}", file=sys.stderr)
        return 1
    node = None
    code = 0
    try:
        node = make()
        executor = SingleThreadedExecutor()
        executor.add_node(node)  # type: ignore[arg-type]
        node.start()
        while rclpy.ok():
            executor.spin_once(timeout_sec=WAKE_PERIOD)
    except MaskDetectorError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 1
    except ParameterException as error:  # of a parameter that rclpy declares itself
        print(f"error: {_describe(error)}", file=sys.stderr)
        code = 1
    except ExternalShutdownException:
        pass
    except _rclpy.RCLError:
        # The signal handler shuts the context down under whatever is being called.
        if rclpy.ok():
            raise
    finally:
        # A second Ctrl-C, or launch's forwarding of the first, must not break the ending off.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        if node is not None:
            node.close()
        rclpy.try_shutdown()
    return 1 if node is not None and node.failed else code


_TYPES = {
    "BOOL": "true or false",
    "INTEGER": "an integer",
    "DOUBLE": "a number",
    "STRING": "a text",
}


def _describe(error: ParameterException) -> str:
    """What is wrong with a parameter, in the words of our own tables."""
    text = str(error)
    wrong = re.match(r"Trying to set parameter '(.+)' to '(.*)' of .* expecting type '(\w+)'", text)
    if wrong is None:
        return text
    name, value, kind = wrong.groups()
    return f"{name} must be {_TYPES.get(kind, kind.lower())}, got {value!r}"


@contextmanager
def sending(node: Node) -> Iterator[None]:
    """Publish inside: what DDS refuses to send is lost with a warning, and the node goes on.

    It refuses what a subscriber that asked for every message, and stands still, leaves no room
    for. Once the context is shut down, by a signal in the middle of it, nothing is said.
    """
    try:
        yield
    except _rclpy.RCLError as error:
        if node.context.ok():
            reason = str(error).splitlines()[0]
            node.get_logger().warning(
                f"a message is lost ({reason}): is a subscriber with reliable QoS standing still?",
                throttle_duration_sec=WARNING_PERIOD,
            )


def report_exceptions(callback: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Print what a lifecycle callback raises by mistake: rclpy swallows it without a word."""

    @functools.wraps(callback)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        try:
            return callback(*args, **kwargs)
        except Exception:  # to be raised again
            if rclpy.ok():
                traceback.print_exc()
            raise

    return run
