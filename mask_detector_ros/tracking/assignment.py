# SPDX-License-Identifier: Apache-2.0
"""Linear assignment: the cheapest pairing of rows and columns.

SciPy has it too (`linear_sum_assignment`, which the tests compare with), but importing SciPy
costs a robot 46 MB and half a second, and its Debian package dictates the NumPy version.
"""

import numpy as np
from numpy.typing import NDArray


def linear_assignment(cost: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Solve the linear assignment problem: the (row, column) pairs of least total cost, as many as
    the shorter side has.

    Shortest augmenting paths (Jonker and Volgenant, "A shortest augmenting path algorithm for
    dense and sparse linear assignment problems", 1987), O(n^3).

    Args:
        cost: (N, M), finite.
    """
    if cost.shape[0] > cost.shape[1]:
        return [(row, column) for column, row in linear_assignment(cost.T)]
    n, m = cost.shape
    cheapest = cost.argmin(axis=1).tolist() if m else []
    if len(set(cheapest)) == n:
        # No two rows want the same column, which is the usual case.
        return list(enumerate(cheapest))
    row_price, column_price = np.zeros(n), np.zeros(m + 1)
    # The row assigned to each column, -1 for none; the last column holds the row being assigned.
    owner = np.full(m + 1, -1)
    for row in range(n):
        owner[m] = row
        column, visited = m, np.zeros(m + 1, bool)
        reach, previous = np.full(m, np.inf), np.full(m, m)
        while owner[column] >= 0:
            visited[column] = True
            i = owner[column]
            through = cost[i] - row_price[i] - column_price[:m]
            shorter = ~visited[:m] & (through < reach)
            reach[shorter], previous[shorter] = through[shorter], column
            open_reach = np.where(visited[:m], np.inf, reach)
            nearest = int(open_reach.argmin())
            step = open_reach[nearest]
            row_price[owner[visited]] += step
            column_price[visited] -= step
            reach[~visited[:m]] -= step
            column = nearest
        while column != m:
            owner[column] = owner[previous[column]]
            column = previous[column]
    return [(int(row), column) for column, row in enumerate(owner[:m]) if row >= 0]
