"""Files that are written whole or not at all, and never over an input."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from mask_detector_ros.errors import ParameterError, SourceError

_numbers = itertools.count()


def check_output(
    path: Path,
    inputs: Iterable[Path] = (),
    overwrite: bool = False,
    advice: str = "give another name with -o",
) -> None:
    """Make sure that writing `path` destroys nothing.

    Args:
        path: the file to be written; a device or a pipe is left to its owner's judgement.
        inputs: files that must stay, by whatever name `path` reaches them.
        overwrite: whether another file of that name may be replaced.
        advice: what to do where it may not.

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


def is_special(path: Path) -> bool:
    """Whether the path is a device, pipe or socket, which is written to and never replaced."""
    return path.exists() and not path.is_file() and not path.is_dir()


class OutputFile:
    """A file under construction: a hidden one beside its final place until `commit`.

    A context manager: what was not committed at its end is removed, and an older file of the
    name stays as it was. A symbolic link of that name is replaced, not followed.

    Attributes:
        path: where it will be.
        partial: where to write until then; `path` itself for a device or pipe.

    Raises:
        SourceError: the place cannot be written; its folder is made where it is missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.partial = path
        if is_special(path):
            return
        # Short, for a name may use up what the file system allows; with the suffix, by which
        # writers choose the format.
        name = f".mask-detector-{os.getpid()}-{next(_numbers)}{path.suffix}"
        self.partial = path.with_name(name)
        try:
            if path.is_dir():
                raise IsADirectoryError(0, "it is a folder")
            path.parent.mkdir(parents=True, exist_ok=True)
            self.partial.open("xb").close()
        except OSError as error:
            raise cannot_write(path, error) from error

    def commit(self) -> None:
        """Put the file in its place, once it is on the disk.

        Raises:
            SourceError: that failed, and the partial file is gone.
        """
        if self.partial == self.path:
            return
        try:
            with self.partial.open("rb") as file:
                os.fsync(file.fileno())
            if self.path.is_file() and not self.path.is_symlink():
                shutil.copymode(self.path, self.partial)
            os.replace(self.partial, self.path)
        except OSError as error:
            self.discard()
            raise cannot_write(self.path, error) from error

    def discard(self) -> None:
        """Remove what was not committed."""
        if self.partial != self.path:
            self.partial.unlink(missing_ok=True)

    def __enter__(self) -> OutputFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.discard()


def write_output(path: Path, data: bytes) -> None:
    """Write a file as a whole.

    Raises:
        SourceError: it cannot be written; an older file of that name stays.
    """
    with OutputFile(path) as output:
        try:
            output.partial.write_bytes(data)
        except OSError as error:
            raise cannot_write(path, error) from error
        output.commit()


def cannot_write(path: Path, error: OSError) -> SourceError:
    """The error of a file that cannot be written."""
    return SourceError(f"cannot write {path} ({error.strerror or error})")
