import signal
import sys

if sys.argv[:1] == ["-m"]:
    # A node is being started (`python -m`). Until it has handlers of its own, a signal ends it
    # without a traceback out of some import.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
