# SPDX-License-Identifier: Apache-2.0
import signal
import sys

if sys.argv[:1] == ["-m"]:
    # A node is starting (`python -m`). Until it installs its handlers, a signal ends it without
    # a traceback from an import.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
