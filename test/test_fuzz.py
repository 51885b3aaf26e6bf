# SPDX-License-Identifier: Apache-2.0
"""Earlier findings of fuzzing stay fixed, and each target is fuzzed for a moment."""

from __future__ import annotations

from pathlib import Path

import pytest

from fuzz.__main__ import main
from fuzz.seeds import CORPUS, seeds
from fuzz.targets import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_good_input_and_what_was_found_are_read_or_rejected(name: str) -> None:
    for data in seeds(name):
        TARGETS[name](data)


def test_every_kept_case_belongs_to_a_target() -> None:
    assert {folder.name for folder in CORPUS.iterdir() if folder.is_dir()} <= set(TARGETS)


def test_a_finding_is_reported_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--seconds", "0.5", "--engine", "hypothesis", "url", "--out", str(tmp_path)]) == 0
    assert "nothing found" in capsys.readouterr().out
    monkeypatch.setenv("FUZZ_SELF_TEST", "1")
    assert main(["--seconds", "0.5", "--engine", "hypothesis", "url", "--out", str(tmp_path)]) == 1
    assert (tmp_path / "url" / "current").is_file()
    assert "self test" in (tmp_path / "url" / "log.txt").read_text()
