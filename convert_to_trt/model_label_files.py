# SPDX-License-Identifier: Apache-2.0
"""Read a model's label names from the files that training tools write beside it."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from convert_to_trt.model_files import parse_json
from mask_detector_ros.errors import ParameterError

BESIDE = (
    *("labels.txt", "label.txt", "labels.json", "class_indices.json", "classes.txt"),
    *("class_names.txt", "class_names.json", "classes.json", "metadata.json", "metadata.yaml"),
    "config.json",
)
"""Files beside a model that name its labels, most specific first. `metadata.json` is Teachable
Machine's, `metadata.yaml` Ultralytics', `config.json` Hugging Face's."""

SIZE_LIMIT = 1 << 20
"""Maximum bytes of a label file; longer files hold something else."""

_NUMBERED = re.compile(r"(?P<number>\d+)\s*[\s:.,;)=\-]\s*(?P<name>\S.*)")
_NUMBERED_AFTER = re.compile(r"(?P<name>\S.*?)\s*[\s:,;=]\s*(?P<number>\d+)")
_KEYS = ("labels", "names", "class_names", "classes", "id2label")


def read_label_file(path: Path) -> tuple[str, ...]:
    """Read a model's labels from a text, JSON or YAML file.

    A text file has one label a line, or all on one line separated by commas. Lines numbered from
    0 or 1 are sorted by their number, which may follow the label. JSON and YAML hold a list, a
    mapping from name to number (Keras's `class_indices`) or back, or such an entry called `labels`,
    `names`, `class_names` or `classes`.

    Raises:
        ParameterError: the file cannot be read, or holds no labels.
    """
    try:
        if path.stat().st_size > SIZE_LIMIT:
            raise ParameterError(f"{path} is too large for a file of labels")
        content = path.read_bytes()
    except OSError as error:
        raise ParameterError(f"cannot read the labels in {path} ({error.strerror})") from error
    return parse_labels(content, str(path))


def parse_labels(content: bytes, name: str) -> tuple[str, ...]:
    """Parse a model's labels from the content of a label file; see `read_label_file`.

    Args:
        content: the bytes.
        name: name of the file, whose suffix gives the format.

    Raises:
        ParameterError: it holds no labels.
    """
    suffix = Path(name).suffix.lower()
    text = _decode(content)
    if suffix in (".json", ".yaml", ".yml") or text.lstrip()[:1] in ("{", "["):
        labels = _structured_labels(text, name, suffix == ".json")
    else:
        lines = [line.strip() for line in text.splitlines()]
        labels = [_unquote(line) for line in lines if line and not line.startswith("#")]
        if len(labels) == 1 and "," in labels[0]:
            labels = [_unquote(part) for part in labels[0].split(",")]
    labels = _without_numbers(labels)
    if len(labels) < 2 or not all(labels) or len(set(labels)) < len(labels):
        found = f", got {', '.join(labels[:6])}" if labels else ""
        raise ParameterError(f"{name} must name two or more different labels, one a line{found}")
    return tuple(labels)


def is_numbered(lines: list[str]) -> bool:
    """Whether each line of a label file is a number from 0 on and a name, as `0 Mask` and `1 No
    Mask`."""
    named = [line for line in lines if line.strip()]
    return bool(_by_order(named, _NUMBERED, range(len(named))))


def _without_numbers(labels: list[str]) -> list[str]:
    """Labels in the order of their numbers, from 0 or 1 on, before or after each; a first line
    without a number is a heading."""
    for lines in (labels, labels[1:]):
        for pattern in (_NUMBERED, _NUMBERED_AFTER):
            for first in (0, 1):
                numbers = range(first, first + len(lines))
                if len(lines) > 1 and (named := _by_order(lines, pattern, numbers)):
                    return named
    return labels


def _by_order(lines: list[str], pattern: re.Pattern[str], numbers: range) -> list[str]:
    """Names in the order of their numbers; empty if the lines do not have these numbers, and
    different names."""
    matches = [pattern.fullmatch(line.strip()) for line in lines]
    named = {int(match["number"]): _unquote(match["name"]) for match in matches if match}
    if sorted(named) != list(numbers) or len(set(named.values())) < len(lines):
        return []
    return [named[number] for number in numbers]


def _decode(content: bytes) -> str:
    for mark, encoding in ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"), (b"", "utf-8-sig")):
        if content.startswith(mark):
            try:
                return content.decode(encoding)
            except UnicodeDecodeError:
                # Windows' editors write the code page of Western Europe.
                return content.decode("cp1252", errors="replace")
    raise AssertionError("every content starts with an empty mark")


def _unquote(text: str) -> str:
    text = text.strip()
    is_quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "\"'"
    return text[1:-1].strip() if is_quoted else text


def _structured_labels(text: str, name: str, is_json: bool) -> list[str]:
    try:
        content = parse_json(text) if is_json else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ParameterError(f"cannot read the labels in {name} ({reason})") from error
    if isinstance(content, Mapping):
        content = next((content[key] for key in _KEYS if key in content), content)
    if isinstance(content, Mapping):
        content = _by_number(content)
    if not isinstance(content, list) or not all(isinstance(label, str) for label in content):
        raise ParameterError(f"{name} must hold a list of labels, or map them to their numbers")
    return [label.strip() for label in content]


def _by_number(content: Mapping[Any, Any]) -> list[Any] | None:
    """Labels of a mapping from label to number, or from number to label, in their order."""
    pairs = content.items()
    if not all(isinstance(value, int) for value in content.values()):
        pairs = ((value, key) for key, value in pairs)  # type: ignore[assignment]
    try:
        numbered = {int(number): label for label, number in pairs}
    except (TypeError, ValueError):
        return None
    return [numbered[number] for number in sorted(numbered)]
