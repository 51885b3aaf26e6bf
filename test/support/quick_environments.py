# SPDX-License-Identifier: Apache-2.0
"""Virtual environments without a copy of pip, which takes three seconds to make."""

import sys
from pathlib import Path

from mask_detector_ros import virtual_environments


def use_our_pip(monkeypatch):
    """Let `virtual_environments.make` use the pip of this environment, and install nothing.

    test_setup.py makes a whole environment.
    """
    run = virtual_environments._run

    def quick(command, **variables):
        if "venv" not in command:
            run(command, **variables, PIP_DRY_RUN="1")
            return
        python = virtual_environments.python_of(Path(command[-1]))
        python.parent.mkdir(parents=True, exist_ok=True)
        python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        python.chmod(0o755)

    monkeypatch.setattr(virtual_environments, "_run", quick)
