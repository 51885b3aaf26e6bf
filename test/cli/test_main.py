# SPDX-License-Identifier: Apache-2.0
"""The `mask-detector` command as a whole: help, wrong use, exit codes."""

import subprocess
import sys

import pytest

from mask_detector_ros import __version__
from mask_detector_ros.cli import main
from mask_detector_ros.parameters import DETECTOR_PARAMETERS

COMMANDS = ("image", "video", "models", "evaluate", "benchmark")


def leave(arguments, capsys):
    """Run a command that exits by itself; return its exit code and both outputs."""
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    return exit_.value.code, *capsys.readouterr()


def test_help_names_every_command(capsys):
    code, out, _ = leave(["-h"], capsys)
    assert code == 0
    assert all(command in out for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command, capsys):
    code, out, _ = leave([command, "-h"], capsys)
    assert code == 0
    assert f"usage: mask-detector {command}" in out
    assert "--json" in out


@pytest.mark.parametrize("command", ["image", "video", "evaluate"])
@pytest.mark.parametrize("parameter", DETECTOR_PARAMETERS, ids=lambda parameter: parameter.name)
def test_every_detector_parameter_is_an_option(command, parameter, capsys):
    _, out, _ = leave([command, "-h"], capsys)
    assert f"--{parameter.name.replace('_', '-')} " in out
    assert " ".join(parameter.description.split()) in " ".join(out.split())


def test_the_version_is_that_of_the_package(capsys):
    assert leave(["--version"], capsys) == (0, f"{__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "COMMAND"),
        (["evaluate-all"], "invalid choice: 'evaluate-all'"),
        (["image"], "IN"),
        (["video", "a.mp4", "b.mp4"], "b.mp4"),
        (["image", "a.png", "--min-face"], "--min-face"),
        (["image", "a.png", "--min-face-size", "small"], "'small'"),
        (["image", "a.png", "--detection-thresholds", "0.5"], "3 arguments"),
        (["image", "a.png", "--backend", "tpu"], "onnxruntime"),
        (["video", "sample", "--frames", "some"], "'some'"),
    ],
)
def test_wrong_use_is_one_line_that_names_the_help_and_exit_code_2(arguments, reason, capsys):
    code, out, err = leave(arguments, capsys)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert reason in err
    assert " -h\n" in err


@pytest.mark.parametrize("command", ["image", "video", "evaluate"])
@pytest.mark.parametrize(
    ("option", "reason"),
    [
        (["--min-face-size", "5"], "min_face_size must be an integer from 12 to 2000, got 5"),
        (["--pyramid-factor", "nan"], "pyramid_factor must be a number from 0.3 to 0.95, got nan"),
        (["--detection-thresholds", "0", "0", "2"], "must be 3 numbers from 0 to 1"),
    ],
)
def test_a_value_out_of_range_is_wrong_use(command, option, reason, capsys, astronaut_file):
    assert main([command, str(astronaut_file), *option]) == 2
    assert reason in capsys.readouterr().err


def test_the_command_runs_as_a_module_too():
    done = subprocess.run(
        [sys.executable, "-m", "mask_detector_ros.cli", "models", "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert '"pnet"' in done.stdout


@pytest.mark.parametrize("buffering", [[], ["-u"]], ids=["buffered", "unbuffered"])
def test_a_reader_that_goes_away_is_no_traceback(buffering):
    command = subprocess.Popen(
        [sys.executable, *buffering, "-m", "mask_detector_ros.cli", "models"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    # Nobody reads from here on, before the command has begun to write.
    command.stdout.close()
    _, err = command.communicate()
    assert (command.returncode, err) == (1, b"")


def test_python_m_runs_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "mask_detector_ros", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"{__version__}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_completion_script_knows_the_options(shell, capsys):
    pytest.importorskip("shtab", reason="needs: pip install shtab")
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "mask-detector" in script
    assert "--min-face-size" in script
    assert "--every-frame" in script


def test_to_label_one_image_nothing_is_imported_that_it_does_not_need(astronaut_file):
    """It needs no evaluation, plots, bags, multiprocessing or ROS."""
    code = (
        "import sys; from mask_detector_ros.cli import main;"
        f" code = main(['image', {str(astronaut_file)!r}, '--threads', '1']);"
        " names = ('mask_detector_ros.evaluation', 'mask_detector_ros.speed', 'matplotlib',"
        " 'mask_detector_ros.bags', 'rclpy', 'av', 'rerun', 'PIL');"
        " print([name for name in names if name in sys.modules]); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
