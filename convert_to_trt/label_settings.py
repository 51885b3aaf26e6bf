# SPDX-License-Identifier: Apache-2.0
"""Labels of a classifier and their roles, from options and file."""

import json
from collections.abc import Mapping
from pathlib import Path

from convert_to_trt.model_files import parse_json
from convert_to_trt.model_label_files import parse_labels, read_label_file
from mask_detector_ros.errors import ParameterError
from mask_detector_ros.label_roles import NO_ROLE, ROLES, read_roles


def settle_labels(text: str | None, metadata: Mapping[str, str]) -> tuple[str, ...]:
    """Take the labels from the option, or else from the file's metadata.

    Args:
        text: the option; None if not given.
        metadata: metadata from the file or from files beside it.

    Raises:
        ParameterError: there are none, or they are unusable.
    """
    if text is not None:
        return read_labels(text)
    if "labels" not in metadata:
        raise ParameterError(
            f"{metadata.get('labels_problem', '')}--labels is needed: the names of the model's"
            " outputs in their order, for example --labels with_mask,without_mask, or a file with"
            " one name per line"
        )
    try:
        if metadata["labels"].startswith('["'):
            return require_labels([str(name) for name in parse_json(metadata["labels"])])
        # Another tool's metadata have their own form.
        return parse_labels(metadata["labels"].encode(), "labels")
    except (ParameterError, ValueError) as error:
        raise ParameterError(
            f"the file's own metadata has unusable labels ({error}); give --labels"
        ) from error


def read_labels(text: str) -> tuple[str, ...]:
    """Read the labels of a classifier's settings from `a,b,c`, or from a file with one per line.

    Raises:
        ParameterError: a name is empty or repeated, or there is only one.
    """
    path = Path(text).expanduser()
    is_file_name = path.suffix.lower() in (".txt", ".json", ".yaml", ".yml")
    if "," not in text and text and (path.is_file() or is_file_name):
        return read_label_file(path)
    return require_labels(text.split(","))


def require_labels(names: list[str]) -> tuple[str, ...]:
    """Check that a classifier's settings have two or more different labels; return them stripped.

    Raises:
        ParameterError: they are not.
    """
    labels = tuple(name.strip() for name in names)
    if len(labels) < 2 or not all(labels) or len(set(labels)) < len(labels):
        raise ParameterError(f"--labels takes two or more different names, got {','.join(names)!r}")
    return labels


def settle_roles(
    text: str | None, labels: tuple[str, ...], metadata: Mapping[str, str]
) -> tuple[str, ...]:
    """Take the role of each label from the option, from the file's metadata, or from its name.

    Raises:
        ParameterError: they do not fit the labels.
    """
    try:
        if text is not None:
            names = [name.strip() for name in text.split(",")]
            return read_roles(labels, [NO_ROLE if n in ("-", "none") else n for n in names])
        stored = json.loads(metadata["roles"]) if "roles" in metadata else None
        # The file's roles do not apply to other labels.
        belong = stored is not None and json.loads(metadata.get("labels", "0")) == list(labels)
        return read_roles(labels, stored if belong else None)
    except ValueError as error:
        raise ParameterError(
            f"--roles takes one of {', '.join(ROLES)} or - for each label, in their order ({error})"
        ) from error
