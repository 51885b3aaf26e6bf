# SPDX-License-Identifier: Apache-2.0
"""Decide which stored engines to trust: an engine is GPU code, and the cache is only a folder.

Engines carry a keyed hash (RFC 2104) whose key only this user can read. A plain hash would prove
nothing: anyone who can write the engine can write its hash.
"""

import contextlib
import hashlib
import hmac
import logging
import os
import secrets
import stat
from pathlib import Path

KEY_NAME, KEY_BYTES = "engine.key", 32

logger = logging.getLogger(__name__)


def cache_folder() -> Path:
    """The user's cache folder by the XDG base directory specification; the key of trusted engines
    lies in it."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    parent = Path(base) if os.path.isabs(base) else Path("~/.cache").expanduser()
    return parent / "mask_detector_ros"


def keyed_hash(content: bytes) -> str:
    """HMAC-SHA256 of a stored engine with the user's key, in hexadecimal: a file with it is
    trusted."""
    return hmac.new(_user_key(), content, hashlib.sha256).hexdigest()


def is_own_hash(content: bytes, digest: object) -> bool:
    """Whether a stored engine can be trusted: `digest` is its `keyed_hash`."""
    return isinstance(digest, str) and hmac.compare_digest(keyed_hash(content), digest)


def why_folder_is_not_ours(folder: Path) -> str:
    """Why a folder of engines cannot be trusted, since other users could change its files; empty if
    it can."""
    status = os.lstat(folder)
    if stat.S_ISLNK(status.st_mode):
        return "is a symbolic link"
    if not stat.S_ISDIR(status.st_mode):
        return "is not a folder"
    return _why_not_ours(status)


def read_own_file(path: Path) -> bytes:
    """Read a trusted file: a regular file that belongs to this user and that nobody else can write.

    Raises:
        FileNotFoundError: it does not exist.
        OSError: it cannot be read.
        PermissionError: it is not a regular file or belongs to another user; see `strerror`.
    """
    with open(_open(path, os.O_RDONLY), "rb") as file:
        status = os.fstat(file.fileno())
        wrong = _why_not_ours(status) if stat.S_ISREG(status.st_mode) else "is not a regular file"
        if wrong:
            raise PermissionError(0, wrong, str(path))
        return file.read()


def create_own_file(path: Path, content: bytes) -> None:
    """Create a trusted file that only this user can access, and sync it to disk.

    Raises:
        FileExistsError: the file or a link exists.
        OSError: it cannot be written.
    """
    with open(_open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as file:
        file.write(content)
        file.flush()
        # A power cut after the rename must not leave an empty file.
        os.fsync(file.fileno())


def open_lock(path: Path) -> int:
    """Open a trusted lock file, creating it if needed; links are not followed."""
    return _open(path, os.O_RDWR | os.O_CREAT)


def _open(path: Path, flags: int) -> int:
    # Without O_NONBLOCK, opening a pipe in the file's place would block.
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)


def _why_not_ours(status: os.stat_result) -> str:
    if status.st_uid != os.geteuid():
        return f"belongs to user {status.st_uid}, not to you ({os.geteuid()})"
    if status.st_mode & stat.S_IWOTH:
        return "can be written by everybody"
    return ""


_temporary_key = secrets.token_bytes(KEY_BYTES)


def _user_key() -> bytes:
    """The user's key, created on first use. If it cannot be stored, it lasts only as long as the
    process, and the next process rebuilds the engines."""
    path = cache_folder() / KEY_NAME
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            create_own_file(path, secrets.token_bytes(KEY_BYTES))
        key = read_own_file(path)
    except OSError as error:
        logger.warning(
            "the key of stored engines cannot be saved in %s (%s): they are rebuilt at the next "
            "start",
            path,
            error.strerror,
        )
        return _temporary_key
    return key if len(key) == KEY_BYTES else _temporary_key
