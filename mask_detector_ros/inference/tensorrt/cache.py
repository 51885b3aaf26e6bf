# SPDX-License-Identifier: Apache-2.0
"""The engine cache on disk. Each engine records what it was built for; one that does not fit is
never used."""

import contextlib
import errno
import fcntl
import hashlib
import json
import logging
import os
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mask_detector_ros.errors import MaskDetectorError
from mask_detector_ros.inference.tensorrt.builder import BuildCancelledError, Profile
from mask_detector_ros.inference.tensorrt.trust import (
    cache_folder,
    create_own_file,
    is_own_hash,
    keyed_hash,
    open_lock,
    read_own_file,
    why_folder_is_not_ours,
)

FORMAT = 3
"""Version of the file format and of the network preparation; other versions are rebuilt."""

HASH = "hmac_sha256"
MAGIC = b"mask_detector_ros engine\n"
LOCK_POLL = 0.2
"""Seconds between two attempts to get the lock."""

logger = logging.getLogger(__name__)


class EngineMisfitError(MaskDetectorError):
    """A stored engine cannot be used; the message is the reason for rebuilding it."""


@dataclass(frozen=True)
class EngineKey:
    """The key of the engine cache: everything an engine depends on.

    Attributes:
        model: name of the model, for human readers of the file.
        precision: fp32 or fp16.
    """

    model: str
    sha256: str
    flavour: str
    version: str
    gpu: str
    capability: str
    precision: str
    profile: Profile

    def to_record(self) -> dict[str, Any]:
        """The engine cache's key as it reads back from JSON."""
        record: dict[str, Any] = json.loads(json.dumps({"format": FORMAT, **asdict(self)}))
        return record

    @property
    def file_name(self) -> str:
        """File name of an engine in the cache: a digest of everything but the model's name, so that
        renaming a model keeps its engine."""
        record = {name: value for name, value in self.to_record().items() if name != "model"}
        digest = hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:16]
        return f"{self.precision}-{digest}.engine"


class EngineCache:
    """The engine cache: a folder of engines.

    Args:
        folder: empty for the user's cache folder. If it cannot be written, or others can write it,
            a warning is logged once and engines stay in memory only.
    """

    def __init__(self, folder: str = "") -> None:
        self.folder = Path(folder).expanduser() if folder else default_folder()
        self._warned = False

    @contextlib.contextmanager
    def lock(self, key: EngineKey, cancelled: Callable[[], bool] = lambda: False) -> Iterator[None]:
        """Lock the cache entry, so that no other thread or process builds the same engine.

        The system releases the lock when the process ends for any reason.

        Raises:
            BuildCancelledError: `cancelled` returned True while waiting for another builder.
        """
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._require_own_folder()
            file = os.fdopen(open_lock(self._path(key, ".lock")), "ab")
        except OSError as error:
            self._warn(error)
            yield
            return
        with file:
            if not _wait_for_lock(file.fileno(), key, cancelled):
                logger.warning(
                    "%s is on a file system without locks: two programs may build the same engine",
                    self.folder,
                )
            # Leftovers of a killed writer of this engine.
            for partial in self.folder.glob(f"{key.file_name}.*.partial"):
                with contextlib.suppress(OSError):
                    partial.unlink()
            yield

    def read(self, key: EngineKey) -> bytes | None:
        """Read the plan of a cached engine, or None if there is none.

        Raises:
            EngineMisfitError: the stored file does not fit.
        """
        path = self._path(key)
        try:
            self._require_own_folder()
            content = read_own_file(path)
        except FileNotFoundError:
            return None
        except PermissionError as error:
            raise EngineMisfitError(f"{error.filename} {error.strerror}: not used") from error
        except OSError as error:
            raise EngineMisfitError(f"{path} cannot be read ({error.strerror})") from error
        header, plan = _split(content, path)
        digest = header.pop(HASH, None)
        different = [
            f"{name} {header.get(name)!r}, needed {value!r}"
            for name, value in key.to_record().items()
            if name != "model" and header.get(name) != value
        ]
        if different:
            raise EngineMisfitError(f"{path} was built for {'; '.join(different)}")
        if not is_own_hash(_signed(header, plan), digest):
            raise EngineMisfitError(
                f"{path} is damaged or was written by another user: its keyed hash does not match"
            )
        return plan

    def write(self, key: EngineKey, plan: bytes) -> Path | None:
        """Store an engine in the cache atomically; None if the folder cannot be written."""
        path = self._path(key)
        header = key.to_record()
        header = {**header, HASH: keyed_hash(_signed(header, plan))}
        partial = self._path(key, f".{secrets.token_hex(8)}.partial")
        try:
            self._require_own_folder()
            create_own_file(partial, MAGIC + json.dumps(header).encode() + b"\n" + plan)
            os.replace(partial, path)
        except OSError as error:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
            self._warn(error)
            return None
        return path

    def _require_own_folder(self) -> None:
        if wrong := why_folder_is_not_ours(self.folder):
            raise PermissionError(0, wrong, str(self.folder))

    def _path(self, key: EngineKey, suffix: str = "") -> Path:
        return self.folder / f"{key.file_name}{suffix}"

    def _warn(self, error: OSError) -> None:
        if not self._warned:
            logger.warning(
                "engines cannot be stored in %s (%s): they stay in memory and are rebuilt at the "
                "next start; free space, or set engine_cache_dir to another folder",
                self.folder,
                error.strerror,
            )
        self._warned = True


def default_folder() -> Path:
    """The default folder of the engine cache."""
    return cache_folder() / "engines"


def _signed(header: dict[str, Any], plan: bytes) -> bytes:
    """The content that the keyed hash covers: all of the file but the hash itself."""
    return json.dumps(header, sort_keys=True).encode() + b"\n" + plan


def _split(content: bytes, path: Path) -> tuple[dict[str, Any], bytes]:
    magic, rest = content[: len(MAGIC)], content[len(MAGIC) :]
    line, newline, plan = rest.partition(b"\n")
    try:
        header = json.loads(line)
    except ValueError:
        header = None
    if magic != MAGIC or not newline or not isinstance(header, dict):
        raise EngineMisfitError(f"{path} is not an engine of this package, or is cut off")
    return header, plan


def _wait_for_lock(file: int, key: EngineKey, cancelled: Callable[[], bool]) -> bool:
    """Wait for the lock of a file; False if the file system has no locks."""
    waiting = False
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES):
                return False
        else:
            return True
        if not waiting:
            logger.info(
                "another program is building %s (%s); waiting for it", key.model, key.precision
            )
            waiting = True
        time.sleep(LOCK_POLL)
        if cancelled():
            raise BuildCancelledError(f"the build of {key.model} was cancelled")
