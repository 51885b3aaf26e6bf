# SPDX-License-Identifier: Apache-2.0
"""Read the settings of a training from its YAML file."""

from dataclasses import is_dataclass
from pathlib import Path
from typing import TypeVar, get_type_hints

import yaml

Settings = TypeVar("Settings")


def read_settings(kind: type[Settings], path: Path) -> Settings:
    """Read the settings of any training, a dataclass and those within it, from its YAML file.

    Raises:
        TypeError: a setting is missing or unknown.
    """
    values = yaml.safe_load(path.read_text())
    for name, inner in get_type_hints(kind).items():
        if is_dataclass(inner) and name in values:
            values[name] = inner(**values[name])  # type: ignore[operator]
    return kind(**values)
