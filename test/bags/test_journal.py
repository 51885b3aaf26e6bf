# SPDX-License-Identifier: Apache-2.0
"""The journal returns recorded faces exactly."""

import numpy as np
import pytest

from mask_detector_ros.bags.journal import Journal
from mask_detector_ros.errors import ParameterError
from mask_detector_ros.faces import Faces

LABELS = ("with_mask", "without_mask")
IDENTITY = {"input": "a", "thresholds": (0.6, 0.7)}


def some_faces(seed):
    random = np.random.default_rng(seed)
    n = seed % 3
    return Faces(
        random.uniform(-10, 700, (n, 4)),
        random.uniform(0, 1, n),
        random.uniform(0, 700, (n, 5, 2)),
        random.dirichlet(np.ones(2), n),
        LABELS,
    )


def recall_all(journal):
    seen = []
    while (entry := journal.next_result()) is not None:
        seen.append(entry)
    return seen


def test_faces_come_back_exactly_and_a_line_that_broke_off_is_forgotten(tmp_path):
    path = tmp_path / "journal.jsonl"
    journal = Journal(path, IDENTITY)
    written = [some_faces(seed) for seed in range(5)]
    for faces in written:
        journal.append(faces)
    journal.append("no picture")
    journal.close()
    with path.open("ab") as file:
        file.write(b'{"boxes": [[1.0, 2.')

    again = Journal(path, IDENTITY)
    assert again.count == 6
    *faces, reason = recall_all(again)
    assert reason == "no picture"
    for one, other in zip(faces, written, strict=True):
        assert one.label_names == LABELS
        for name in ("boxes", "scores", "landmarks", "probabilities", "label_ids"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    again.append("another")
    again.close()
    assert Journal(path, IDENTITY).count == 7


def test_the_journal_of_another_run_is_kept_and_refused(tmp_path):
    path = tmp_path / "journal.jsonl"
    journal = Journal(path, IDENTITY)
    journal.append("x")
    journal.close()
    with pytest.raises(ParameterError, match=r"other options \(its thresholds differ\)"):
        Journal(path, {**IDENTITY, "thresholds": (0.6, 0.8)})
    assert Journal(path, IDENTITY).count == 1


def test_what_follows_a_damaged_line_is_made_again(tmp_path):
    path = tmp_path / "journal.jsonl"
    journal = Journal(path, IDENTITY)
    for _ in range(3):
        journal.append("x")
    journal.close()
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], b"\0" * 40 + b"\n", lines[3]]))
    again = Journal(path, IDENTITY)
    assert again.count == 1
    again.append("y")
    again.close()
    assert Journal(path, IDENTITY).count == 2
