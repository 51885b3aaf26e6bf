# SPDX-License-Identifier: Apache-2.0
"""Run a node as a process: start, spin, signals, exit code."""

import contextlib
import functools
import os
import re
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any, ParamSpec, Protocol, TypeVar

import rclpy
import rclpy.logging
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor

from mask_detector_ros.errors import MaskDetectorError
from mask_detector_ros.process_title import hide_secrets_in_process_list
from mask_detector_ros.redaction import hide_passwords
from mask_detector_ros.ros.diagnostics import WARNING_PERIOD
from mask_detector_ros.ros.distribution import RCLError, UnknownROSArgsError
from mask_detector_ros.ros.parameter_files import unmatched_files
from mask_detector_ros.ros.shared_memory import avoid_full_shared_memory
from mask_detector_ros.ros.start_errors import explain_shortage, explain_start_error

WAKE_PERIOD = 0.5
"""Seconds after which an idle process checks for signals: on a busy machine the executor's wake-up
by a signal is sometimes lost, as `make soak` showed."""

MAX_DOMAIN = 232
"""Higher domains have no valid ports, and Fast DDS ends the process."""

MAX_FAILURES = 100
"""Consecutive errors of rcl itself after which the process gives up. Errors that a peer can cause,
such as a clock below 0 two hundred times a second, must not end it."""

MIN_FILES = 32
"""Open files that a node needs: 18 at work, and some for more peers."""

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class RunnableNode(Protocol):
    """A node with background work that `run_node` can run.

    Attributes:
        failed: whether that work failed, so that the process must exit with 1.
        callback_errors: number of failed callbacks.
    """

    failed: bool
    callback_errors: int

    def start(self) -> None:
        """Start the work of a node that `run_node` runs, once it is in an executor."""

    def close(self) -> None:
        """End all work of a node that `run_node` runs, and destroy it."""

    def get_logger(self) -> Any:
        """The logger of a node that `run_node` runs, as in rclpy."""

    def get_fully_qualified_name(self) -> str:
        """The full name of a node that `run_node` runs, as in rclpy."""


def run_node(make: Callable[[], RunnableNode], args: list[str] | None = None) -> int:
    """Run a node: spin it until a signal stops it; return the exit code.

    SIGINT and SIGTERM end it with 0. A `MaskDetectorError` is printed as one line and ends it with
    1. An error in a callback is logged, and the node continues.
    """
    # Python's own handler raises KeyboardInterrupt wherever the main thread is, which inside
    # rclpy's conversions of messages turns into another exception. With this one, SIGINT ends
    # as SIGTERM does: rclpy's handler, which `init` puts before it, shuts the context down.
    signal.signal(signal.SIGINT, lambda number, frame: None)
    hide_secrets_in_process_list()
    domain = os.environ.get("ROS_DOMAIN_ID", "")
    if domain and not (domain.isdecimal() and int(domain) <= MAX_DOMAIN):
        return _report(f"ROS_DOMAIN_ID must be from 0 to {MAX_DOMAIN}, got {domain!r}")
    if allowed := _too_few_files():
        return _report(
            f"this process may open {allowed} files and needs {MIN_FILES}; raise their limit with"
            " `ulimit -n 1024`"
        )
    if warning := avoid_full_shared_memory(os.environ):
        print(f"warning: {warning}", file=sys.stderr)
    # Our one line says the same as rcl's own.
    rclpy.logging.set_logger_level("rcl", rclpy.logging.LoggingSeverity.FATAL)
    try:
        rclpy.init(args=args)
    except (RCLError, UnknownROSArgsError, RuntimeError) as error:
        return _report(explain_start_error(error))
    finally:
        rclpy.logging.set_logger_level("rcl", rclpy.logging.LoggingSeverity.UNSET)
    node = None
    code = 0
    try:
        node = make()
        arguments = sys.argv if args is None else args
        for line in unmatched_files(arguments, node.get_fully_qualified_name()):
            node.get_logger().warning(line)
        executor = SingleThreadedExecutor()
        executor.add_node(node)  # type: ignore[arg-type]
        node.start()
        _spin(executor, node)
    except MaskDetectorError as error:
        code = _report(str(error))
    except ParameterException as error:  # raised for a parameter that rclpy itself declares
        code = _report(_describe(error))
    except ExternalShutdownException:
        pass
    except (RCLError, OSError, MemoryError, RuntimeError) as error:
        if type(error) is RuntimeError and "start new thread" not in str(error):
            raise
        # The signal handler may shut down the context during any call.
        if rclpy.ok():
            code = _report(explain_start_error(error))
    finally:
        # A second Ctrl-C, or launch's forwarding of the first, must not interrupt the shutdown.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        if node is not None:
            try:
                node.close()
            except MaskDetectorError as error:
                code = _report(str(error))
        rclpy.try_shutdown()
    return 1 if node is not None and node.failed else code


def _too_few_files() -> int:
    """The number of files that may be open, if a node cannot work with it; else 0.

    DDS would report each missing one in lines of its own. Raises the limit where that is allowed.
    """
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed >= MIN_FILES or allowed == resource.RLIM_INFINITY:
        return 0
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (MIN_FILES, most))
        return 0
    return allowed


_TYPES = {
    "BOOL": "true or false",
    "INTEGER": "an integer",
    "DOUBLE": "a number",
    "STRING": "a text",
}


def _describe(error: ParameterException) -> str:
    """Describe a parameter error in the wording of the parameter tables."""
    text = str(error)
    wrong = re.match(r"Trying to set parameter '(.+)' to '(.*)' of .* expecting type '(\w+)'", text)
    if wrong is None:
        return text
    name, value, kind = wrong.groups()
    return f"{name} must be {_TYPES.get(kind, kind.lower())}, got {value!r}"


def _spin(executor: SingleThreadedExecutor, node: RunnableNode) -> None:
    """Spin until the context is shut down. Errors in callbacks, including those of rclpy itself,
    are logged and counted; an error is raised only if rcl fails persistently."""
    failures = 0
    while rclpy.ok():
        try:
            executor.spin_once(timeout_sec=WAKE_PERIOD)
            failures = 0
        except (MaskDetectorError, ExternalShutdownException):
            raise
        except Exception as error:
            if not rclpy.ok():
                return
            failures += 1
            node.callback_errors += 1
            if isinstance(error, RCLError) and failures >= MAX_FAILURES:
                raise
            node.get_logger().error(
                f"a callback failed ({node.callback_errors} so far): {type(error).__name__}: "
                f"{hide_passwords(' '.join(str(error).split()))}; continuing",
                throttle_duration_sec=WARNING_PERIOD,
            )
            node.get_logger().debug("".join(traceback.format_exception(error)))
            # A peer that makes callbacks fail continuously must not use up a core.
            time.sleep(min(failures, MAX_FAILURES) / 10_000)


def _report(text: str) -> int:
    print(f"error: {hide_passwords(text)}", file=sys.stderr)
    return 1


def report_exceptions(callback: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Report the exceptions of a running node's lifecycle callback, which rclpy swallows
    silently."""

    @functools.wraps(callback)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        try:
            return callback(*args, **kwargs)
        except Exception as error:  # raised again later
            if rclpy.ok():
                if shortage := explain_shortage(error):
                    step = callback.__name__.removeprefix("on_")
                    node: Any = args[0]
                    node.get_logger().error(f"{step} failed: {shortage}")
                else:
                    traceback.print_exc()
            raise

    return run
