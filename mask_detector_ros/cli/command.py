# SPDX-License-Identifier: Apache-2.0
"""Common parts of all command lines: parser errors, signals, exit codes."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from types import FrameType
from typing import Any, NoReturn, TextIO, cast

from tqdm import tqdm

from mask_detector_ros.errors import MaskDetectorError, ParameterError
from mask_detector_ros.process_title import hide_secrets_in_process_list
from mask_detector_ros.redaction import hide_passwords, without_password

WRONG_USE, FAILURE, INTERRUPTED = 2, 1, 130

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Sent by Ctrl-C; by `docker stop`, systemd and `timeout`; by a closing terminal."""


class Parser(argparse.ArgumentParser):
    """A command-line parser that reports an error in one line, without repeating all options."""

    def error(self, message: str) -> NoReturn:
        """Print the error of a command line and exit with the code of wrong use."""
        self.exit(WRONG_USE, f"error: {without_secrets(message)}; see {self.prog} -h\n")


def run_command(work: Callable[[], int]) -> int:
    """Do the work of a command and return its exit code.

    An error of this package or of the system becomes one line on stderr and exit code 1, or 2 for a
    wrong parameter. The stop signals all act like Ctrl-C.
    """
    hide_secrets_in_process_list()
    if isinstance(sys.stdout, TextIOWrapper):
        # A file name need not fit the encoding of the terminal.
        sys.stdout.reconfigure(errors="backslashreplace")
    stdout, sys.stdout = sys.stdout, cast(TextIO, PlainOutput(sys.stdout))
    # By default it makes an interprocess lock, a file in /dev/shm.
    tqdm.set_lock(threading.RLock())
    try:
        with _stop_signals(_interrupt):
            code = work()
            sys.stdout.flush()
    except MaskDetectorError as error:
        print_error(str(error))
        return WRONG_USE if isinstance(error, ParameterError) else FAILURE
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output went away (`| head`).
        _close_stdout()
        return FAILURE
    except OSError as error:
        reason = error.strerror or str(error)
        if error.filename is None:
            print_error(f"cannot write the output ({reason}); is the disk full?")
            _close_stdout()
        else:
            print_error(
                f"{os.fsdecode(error.filename)}: {reason}; check the path and its permissions"
            )
        return FAILURE
    finally:
        sys.stdout = stdout
    return code


def printable(text: str) -> str:
    """A text for the terminal, without control characters other than tabs and line ends: a file or
    topic name must not control the terminal."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in "\n\t" or ord(c) > 0x9F else f"\\x{ord(c):02x}" for c in text
    )


class PlainOutput:
    """An output stream of a command, to which only `printable` text is written."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write the text to the command's output, without control characters."""
        return self._stream.write(printable(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def print_error(message: str) -> None:
    """Print the error of a command as one line on stderr, without passwords."""
    line = printable(" ".join(without_secrets(message).split()))
    print(f"error: {line}", file=sys.stderr)


def without_secrets(message: str) -> str:
    """An error message without any password given on the command line."""
    for argument in sys.argv[1:]:
        # The whole argument, since a password may hold spaces.
        message = message.replace(argument, without_password(argument))
    return hide_passwords(message)


class StopRequest:
    """Records a stop signal, so that a command stops between two frames.

    with StopRequest() as stop:
        while not stop.requested:
            with stop.interrupting():
                frame = source.read()
            ...
    """

    def __init__(self) -> None:
        self.requested = False
        self._interrupts = False

    def __enter__(self) -> StopRequest:
        self._handlers = _stop_signals(self._handle)
        self._handlers.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._handlers.__exit__(*error)

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        """Context for a command's long waits, in which a signal raises KeyboardInterrupt."""
        self._interrupts = True
        try:
            if self.requested:
                raise KeyboardInterrupt
            yield
        finally:
            self._interrupts = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        if self._interrupts:
            self._interrupts = False
            raise KeyboardInterrupt


@contextmanager
def _stop_signals(handler: Callable[[int, FrameType | None], Any]) -> Iterator[None]:
    """Handle the stop signals, except those that the parent process has set to be ignored
    (`nohup`)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handled = [n for n in STOP_SIGNALS if signal.getsignal(n) != signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in handled}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _close_stdout() -> None:
    """Close stdout: Python flushes it at exit, which would fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
