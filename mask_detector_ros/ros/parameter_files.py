# SPDX-License-Identifier: Apache-2.0
"""Find parameter files whose keys name other nodes: rcl ignores these without a word."""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

_KEY = "ros__parameters"
_WILDCARDS = {"**": "(/[^/]+)*", "*": "/[^/]+"}
SHOWN_NAMES = 3
"""Most node names of a file that a warning shows."""


def unmatched_files(arguments: Sequence[str], node_name: str) -> Iterator[str]:
    """A warning for each parameter file (`--params-file`) of the arguments without parameters for a
    node, which is given by its fully qualified name.
    """
    for flag, name in pairwise(arguments):
        if flag != "--params-file":
            continue
        try:
            content = yaml.safe_load(Path(name).read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError):  # rcl has read it, so it may be right
            continue
        keys = list(dict.fromkeys(_node_names(content)))
        if keys and not any(_matches(key, node_name) for key in keys):
            shown = ", ".join(keys[:SHOWN_NAMES]) + (", ..." if len(keys) > SHOWN_NAMES else "")
            yield (
                f"{name} has no parameters for this node: its keys are {shown}; write"
                f" {node_name}: or /**/{node_name.rpartition('/')[2]}: above {_KEY}"
            )


def _node_names(content: Any, namespace: str = "") -> Iterator[str]:
    """The names of nodes, with wildcards, that a file has parameters for."""
    if not isinstance(content, dict):
        return
    for key, value in content.items():
        name = f"{namespace}/{str(key).strip('/')}"
        if isinstance(value, dict) and _KEY in value:
            yield name
        else:
            yield from _node_names(value, name)


def _matches(key: str, node_name: str) -> bool:
    tokens = key.strip("/").split("/")
    pattern = "".join(_WILDCARDS.get(token, f"/{re.escape(token)}") for token in tokens)
    return re.fullmatch(pattern, node_name) is not None
