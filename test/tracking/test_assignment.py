# SPDX-License-Identifier: Apache-2.0
"""The assignment of least cost, compared with SciPy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mask_detector_ros.tracking.assignment import linear_assignment

sizes = st.tuples(st.integers(0, 7), st.integers(0, 7))
costs = st.one_of(st.floats(-100, 100), st.integers(0, 3).map(float), st.just(1e6))


@given(sizes.flatmap(lambda size: arrays.arrays(np.float64, size, elements=costs)))
def test_no_pairing_is_cheaper_and_nobody_is_paired_twice(cost):
    optimize = pytest.importorskip("scipy.optimize")
    pairs = linear_assignment(cost)
    rows, columns = [row for row, _ in pairs], [column for _, column in pairs]
    assert len(set(rows)) == len(set(columns)) == len(pairs) == min(cost.shape)
    least = cost[optimize.linear_sum_assignment(cost)].sum()
    assert cost[rows, columns].sum() == pytest.approx(least, abs=1e-6)


def test_a_crowd_is_paired():
    optimize = pytest.importorskip("scipy.optimize")
    cost = np.random.default_rng(0).uniform(0, 1, (100, 120))
    pairs = linear_assignment(cost)
    least = cost[optimize.linear_sum_assignment(cost)].sum()
    assert sum(cost[pair] for pair in pairs) == pytest.approx(least)
