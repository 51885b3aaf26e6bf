# SPDX-License-Identifier: Apache-2.0
"""Make the virtual environment for demo, tests and lint; `make setup` runs this.

This file must parse in very old Python versions, so that they give a clear error instead of a
syntax error. The modules of `environment/` do the work.
"""

import sys

OLDEST_PYTHON = (3, 10)


def too_old(version):  # type: ignore[no-untyped-def]
    """The error line for a Python of this version that is too old for the set-up; None if it is new
    enough."""
    if tuple(version[:2]) >= OLDEST_PYTHON:
        return None
    needed = ".".join(map(str, OLDEST_PYTHON))
    given = ".".join(map(str, version[:2]))
    problem = "error: Python " + needed + " or newer is needed, this is " + given
    return problem + "; do: run make with one, for example 'make setup PYTHON=python3.11'"


if __name__ == "__main__":
    complaint = too_old(sys.version_info)
    if complaint:
        sys.stderr.write(complaint + "\n")
        sys.exit(1)

    from environment.run_steps import main

    sys.exit(main())
