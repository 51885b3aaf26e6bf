# SPDX-License-Identifier: Apache-2.0
import os

# NumPy and SciPy each start a thread per processor on import, for work that the nodes lack.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
