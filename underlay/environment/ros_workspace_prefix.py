# SPDX-License-Identifier: Apache-2.0
"""Put this virtual environment on the paths that sourcing a ROS workspace would set.

Copied into the environment's site-packages and imported when its Python starts, so that no
variable has to be set by hand: ament finds the shared files through AMENT_PREFIX_PATH, the
loader the messages' libraries through LD_LIBRARY_PATH.
"""

import os
import sys


def prepend(variable: str, path: str) -> bool:
    """Put the environment's `path` first in a path variable of the ROS workspace; return False if
    it is already there."""
    entries = [entry for entry in os.environ.get(variable, "").split(os.pathsep) if entry]
    if path in entries:
        return False
    os.environ[variable] = os.pathsep.join([path, *entries])
    return True


prepend("AMENT_PREFIX_PATH", sys.prefix)
# The loader reads the variable only when a process starts.
if prepend("LD_LIBRARY_PATH", os.path.join(sys.prefix, "lib")) and sys.executable:
    os.execv(sys.executable, sys.orig_argv)
