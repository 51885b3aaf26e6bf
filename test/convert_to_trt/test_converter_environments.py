# SPDX-License-Identifier: Apache-2.0
"""The converters' environment is made once, and a missing one is reported in one line."""

import os
import subprocess
import sys

import pytest
from quick_environments import use_our_pip

from convert_to_trt import converter_environments
from mask_detector_ros import virtual_environments
from mask_detector_ros.errors import BackendError


def test_an_environment_that_is_up_to_date_is_not_made_again(tmp_path, monkeypatch):
    use_our_pip(monkeypatch)
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("")
    home = tmp_path / "convert"
    converter_environments.make(home, requirements)
    assert converter_environments.is_ready(home, requirements)
    monkeypatch.setattr(virtual_environments, "_run", pytest.fail)
    converter_environments.make(home, requirements)
    requirements.write_text("# a comment\n")
    assert converter_environments.is_ready(home, requirements)
    requirements.write_text("numpy\n")
    assert not converter_environments.is_ready(home, requirements)


def test_packages_that_cannot_be_installed_are_an_error_with_the_reason(tmp_path, monkeypatch):
    use_our_pip(monkeypatch)
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("tensorflow\n")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    with pytest.raises(BackendError, match=r"tensorflow.*make convert-env"):
        converter_environments.make(tmp_path / "convert", requirements)
    assert not converter_environments.is_ready(tmp_path / "convert", requirements)


def test_without_the_environment_the_error_names_the_target(tmp_path):
    with pytest.raises(BackendError, match="do: make convert-env"):
        converter_environments.change_into("convert_to_trt.keras_to_onnx", [], tmp_path / "nowhere")


def test_the_other_python_sees_nothing_of_this_environment(tmp_path):
    home = tmp_path / "convert"
    (home / "bin").mkdir(parents=True)
    virtual_environments.set_stamp(
        home / converter_environments.STAMP, converter_environments.facts()
    )
    python = home / "bin" / "python"
    python.write_text('#!/bin/sh\necho "$@"\necho "$PYTHONPATH$LD_LIBRARY_PATH"\n')
    python.chmod(0o755)
    code = (
        "from pathlib import Path; from convert_to_trt.converter_environments import change_into;"
        f"change_into('the.module', ['a b', '-o'], Path({str(home)!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=converter_environments.REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(converter_environments.REPOSITORY)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [
        "-m the.module a b -o",
        str(converter_environments.REPOSITORY),
    ]
