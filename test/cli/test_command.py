# SPDX-License-Identifier: Apache-2.0
"""How every command line reports wrong use, fails and ends."""

import subprocess
import sys

import pytest

from mask_detector_ros.cli.command import FAILURE, INTERRUPTED, WRONG_USE, Parser, run_command
from mask_detector_ros.errors import ModelError, ParameterError


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ParameterError("margin must be\n  smaller"), WRONG_USE, "error: margin must be smaller\n"),
        (ModelError("m.onnx is damaged"), FAILURE, "error: m.onnx is damaged\n"),
        (KeyboardInterrupt(), INTERRUPTED, "interrupted\n"),
    ],
)
def test_an_error_is_one_line_and_a_code(error, code, line, capsys):
    def work():
        raise error

    assert run_command(work) == code
    assert capsys.readouterr().err == line


def test_the_code_of_the_work_is_the_code_of_the_command():
    assert [run_command(lambda code=code: code) for code in (0, 1)] == [0, 1]


def test_a_mistake_of_ours_is_not_hidden():
    with pytest.raises(ZeroDivisionError):
        run_command(lambda: 1 // 0)


def test_the_parser_does_not_repeat_all_options(capsys):
    with pytest.raises(SystemExit) as end:
        Parser(prog="tool").parse_args(["--nothing"])
    assert end.value.code == WRONG_USE
    assert capsys.readouterr().err.count("\n") == 1


def test_escape_sequences_do_not_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> int:
        print("a\x1b[2J\x07b.jpg: 1 with_mask\tMüller")
        raise ModelError("no \x1b]0;title\x07file")

    assert run_command(work) == 1
    out, err = capsys.readouterr()
    assert out == "a\\x1b[2J\\x07b.jpg: 1 with_mask\tMüller\n"
    assert err == "error: no \\x1b]0;title\\x07file\n"


def test_an_interrupt_while_modules_are_imported_is_no_traceback() -> None:
    """Send a signal as soon as the first module of NumPy is imported."""
    code = (
        "import os, signal, sys\n"
        "class Interrupt:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'numpy':\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "sys.meta_path.insert(0, Interrupt())\n"
        "from mask_detector_ros.cli import main\n"
        "sys.exit(main(['models']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (INTERRUPTED, "interrupted\n")
