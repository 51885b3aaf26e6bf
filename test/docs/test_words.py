# SPDX-License-Identifier: Apache-2.0
"""The words that the glossary in CONTRIBUTING.md replaced do not come back."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

REPLACED = (
    r"\b(journeys?|lanes?|contestants?|entrants?|heats?|furnish(es|ed)?|whoever|anew|refus\w+"
    r"|pictures?|halvings?|searched whole|so many images later|looks? only around"
    r"|looked for near|price of the way|stand(s|ing) still)\b"
)
"""Words of the project's beginning that have a standard term. `refused` stays in the error text of
the operating system, `connection refused`."""

PLACES = (
    *("mask_detector_ros", "launch", "config", "msg", "benchmark", "convert_to_trt", "deploy"),
    *("fuzz", "training", "underlay", "docs", "models/*.md", "models/models.yaml", "README.md"),
    *("SECURITY.md", "Makefile", "CMakeLists.txt", "package.xml", "pyproject.toml"),
)
EXCEPT = (
    ":!*.svg",
    ":!*.json",
    # The error that the operating system reports.
    ":!underlay/environment/logged.py",
    # Layers that halve an image.
    *(f":!training/{name}" for name in ("mask_network.py", "mask_classifier.yaml")),
    *(f":!training/two_stage/decision_{name}.py" for name in ("network", "teacher")),
)


def test_no_replaced_word_is_used() -> None:
    """`git grep -niP WORDS -- PLACES` prints nothing."""
    if not (ROOT / ".git").exists():
        pytest.skip("this is not a git checkout")
    found = subprocess.run(
        ["git", "grep", "-niIP", REPLACED, "--", *PLACES, *EXCEPT],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert found.returncode in (0, 1), found.stderr
    assert found.stdout == ""
