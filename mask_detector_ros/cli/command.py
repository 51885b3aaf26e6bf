"""What every command line of this project has in common: how it refuses, fails and ends."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from io import TextIOWrapper
from typing import NoReturn

from mask_detector_ros.errors import MaskDetectorError, ParameterError

WRONG_USE, FAILURE, INTERRUPTED = 2, 1, 130


class Parser(argparse.ArgumentParser):
    """A parser that says in one line what is wrong, without repeating all options."""

    def error(self, message: str) -> NoReturn:
        """Print the message and leave with the exit code of wrong use."""
        self.exit(WRONG_USE, f"error: {message}; see {self.prog} -h\n")


def run_command(work: Callable[[], int]) -> int:
    """Do the work of a command and return its exit code.

    An error of this package becomes one line on stderr and the code 1, or 2 where a parameter
    is wrong.
    """
    if isinstance(sys.stdout, TextIOWrapper):
        # A file name need not fit the encoding of the terminal.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = work()
        sys.stdout.flush()
    except MaskDetectorError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return WRONG_USE if isinstance(error, ParameterError) else FAILURE
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output went away (`| head`). Python flushes once more at its end,
        # and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILURE
    return code
