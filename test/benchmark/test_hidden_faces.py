# SPDX-License-Identifier: Apache-2.0
"""A hidden face counts as found if a detection of similar size contains its centre."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark.hidden_faces import count_found

HIDDEN = np.array([[100, 100, 200, 200], [300, 100, 400, 200]], np.float32)


@pytest.mark.parametrize(
    ("found", "count"),
    [
        ([], 0),
        ([[110, 110, 190, 190]], 1),
        ([[110, 110, 190, 190], [120, 120, 180, 180]], 1),
        ([[110, 110, 190, 190], [310, 90, 390, 190]], 2),
        ([[0, 0, 400, 400]], 0),
        ([[140, 140, 160, 160]], 0),
        ([[210, 100, 290, 200]], 0),
    ],
)
def test_count_found(found: list[list[float]], count: int) -> None:
    assert count_found(np.array(found, np.float32).reshape(-1, 4), HIDDEN) == count
