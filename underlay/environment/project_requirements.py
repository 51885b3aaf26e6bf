# SPDX-License-Identifier: Apache-2.0
"""Print the requirements in pyproject.toml: `python project_requirements.py pyproject.toml
EXTRA...`.

Run by the virtual environment's Python, since Python 3.10 has no tomllib but pip carries one.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_SELF = re.compile(r"^mask[-_]detector[-_]ros\[(?P<extras>[^\]]+)\]$")


def read_toml(path: Path) -> dict[str, Any]:
    """Read pyproject.toml, for the project's requirements."""
    try:
        import tomllib
    except ImportError:
        import pip._vendor.tomli as tomllib
    return tomllib.loads(path.read_text(encoding="utf-8"))


def requirements(project: dict[str, Any], extras: Sequence[str]) -> list[str]:
    """The requirements of the project and of its extras, including nested extras."""
    found = list(project["dependencies"])
    for extra in extras:
        for line in project["optional-dependencies"][extra]:
            own = _SELF.match(line)
            if own:
                nested = [name.strip() for name in own["extras"].split(",")]
                found += requirements({**project, "dependencies": []}, nested)
            else:
                found.append(line)
    return found


if __name__ == "__main__":
    print("\n".join(requirements(read_toml(Path(sys.argv[1]))["project"], sys.argv[2:])))
