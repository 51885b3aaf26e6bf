# SPDX-License-Identifier: Apache-2.0
import os
import signal
import sys

# NumPy and SciPy each start a thread per processor on import, for work that the nodes lack.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

if sys.argv[:1] == ["-m"]:
    # A node is starting (`python -m`). Until it installs its handlers, a signal ends it without
    # a traceback from an import.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
