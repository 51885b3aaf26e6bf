# SPDX-License-Identifier: Apache-2.0
"""Write files atomically, and never over an input."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mask_detector_ros.errors import ParameterError, SourceError

_numbers = itertools.count()


def check_output(
    path: Path,
    inputs: Iterable[Path] = (),
    overwrite: bool = False,
    advice: str = "give another name with -o",
) -> None:
    """Check that writing an output file to `path` destroys nothing.

    Args:
        path: the file to write; devices and pipes are always allowed.
        inputs: files that must not be replaced, also if `path` is another name of one.
        overwrite: whether an existing file may be replaced.
        advice: the remedy in the error message.

    Raises:
        ParameterError: the file is one of the inputs, or exists and may not be replaced.
    """
    if not os.path.lexists(path):
        return
    for given in inputs:
        try:
            same = given.samefile(path)
        except OSError:
            continue
        if same and path.exists():
            raise ParameterError(f"{path} is the input; {advice}")
    if is_special(path) or overwrite:
        return
    raise ParameterError(f"{path} exists; {advice}, or --overwrite to replace it")


def require_distinct(outputs: Iterable[Path]) -> None:
    """Raise ParameterError if two output paths are one file."""
    seen: set[Path] = set()
    for path in outputs:
        # A link of that name is replaced, but the folder may be reached by one.
        place = path.parent.resolve() / path.name
        if place in seen and not is_special(path):
            raise ParameterError(f"two outputs are {path}; give each a different name")
        seen.add(place)


def is_special(path: Path) -> bool:
    """Whether an output path is a device, pipe or socket, which is never replaced."""
    return path.exists() and not path.is_file() and not path.is_dir()


class OutputFile:
    """An output file in progress: a hidden file beside its final path until `commit`.

    A context manager: at its end an uncommitted file is removed, and an older file of the same name
    is unchanged. A symbolic link of that name is replaced, not followed.

    Attributes:
        partial: the path to write to; `path` itself for a device or pipe.

    Raises:
        SourceError: the path cannot be written. A missing folder is created.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.partial = path
        if is_special(path):
            return
        # Short, since a name may use the file system's maximum length; with the suffix, from
        # which writers choose the format.
        name = f".mask-detector-{os.getpid()}-{next(_numbers)}{path.suffix}"
        self.partial = path.with_name(name)
        with writing(path):
            if path.is_dir():
                raise IsADirectoryError(0, "it is a folder")
            path.parent.mkdir(parents=True, exist_ok=True)
            self.partial.open("xb").close()

    def commit(self) -> None:
        """Sync the output file to disk and move it to its final path.

        Raises:
            SourceError: that failed.
        """
        if self.partial == self.path:
            return
        with writing(self.path):
            with self.partial.open("rb") as file:
                os.fsync(file.fileno())
            if self.path.is_file() and not self.path.is_symlink():
                shutil.copymode(self.path, self.partial)
            os.replace(self.partial, self.path)

    def discard(self) -> None:
        """Remove an uncommitted output file."""
        if self.partial != self.path:
            self.partial.unlink(missing_ok=True)

    def __enter__(self) -> OutputFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()


def write_output(path: Path, data: bytes) -> None:
    """Write an output file atomically.

    Raises:
        SourceError: it cannot be written; an older file of that name is unchanged.
    """
    with OutputFile(path) as output, writing(path):
        output.partial.write_bytes(data)
        output.commit()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Context for writing an output file: an error of the system becomes a SourceError."""
    try:
        yield
    except OSError as error:
        raise SourceError(f"cannot write {path} ({error.strerror or error})") from error
