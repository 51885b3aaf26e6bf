# SPDX-License-Identifier: Apache-2.0
"""A signal while Python imports a command: it ends the command, without a traceback."""

import os
import shutil
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

SENDER = "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(1)\n"
"""A module that stands in for one that the command imports."""

NODES = ("demo", "mask_detector_node", "image_source_node", "recorder_node")
COMMANDS = [
    ("mask_detector_ros", "argparse"),
    ("mask_detector_ros.cli", "argparse"),
    ("mask_detector_ros.cli", "numpy"),
    ("convert_to_trt.keras_to_onnx", "tqdm"),
    ("convert_to_trt.onnx_to_engine", "numpy"),
    *((f"mask_detector_ros.ros.{node}", "numpy") for node in NODES if find_spec("rclpy")),
]
"""Commands, and a module that each imports as it starts."""


def start(command: list[str], folder: Path, imported: str) -> subprocess.CompletedProcess[str]:
    (folder / f"{imported}.py").write_text(SENDER)
    path = os.pathsep.join([str(folder), str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(("module", "imported"), COMMANDS)
def test_a_command_that_starts_ends_by_the_signal(tmp_path, module, imported):
    done = start([sys.executable, "-m", module], tmp_path, imported)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


def test_so_does_the_script_that_pip_writes(tmp_path):
    script = tmp_path / "mask-detector"
    script.write_text("import sys\nfrom mask_detector_ros.cli import main\nsys.exit(main())\n")
    done = start([sys.executable, str(script), "models"], tmp_path, "argparse")
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


def test_a_command_in_the_background_still_ignores_it(tmp_path):
    shell = shutil.which("sh")
    command = f"trap '' INT; exec {sys.executable} -m mask_detector_ros.cli models"
    done = start([shell, "-c", command], tmp_path, "tqdm")
    assert done.returncode != -signal.SIGINT


def test_a_program_that_imports_the_library_keeps_its_handlers(tmp_path):
    code = "import signal, mask_detector_ros; print(signal.getsignal(signal.SIGINT))"
    done = start([sys.executable, "-c", code], tmp_path, "argparse")
    assert done.stdout.startswith("<built-in function default_int_handler>")
