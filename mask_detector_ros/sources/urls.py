# SPDX-License-Identifier: Apache-2.0
"""Handle source names that are URLs: find the file of a file URL, and write one for FFmpeg.

Camera URLs defeat a standard parser: cameras accept unescaped `/`, `?`, `#` and `@` in a password.
"""

import re
from pathlib import Path
from urllib.parse import quote, unquote

from mask_detector_ros.errors import SourceError
from mask_detector_ros.redaction import URL, split_user, without_password

STREAM_SCHEMES = (
    *("ftp", "hls", "http", "https", "mms", "mmsh", "rtmp", "rtmps", "rtmpt", "rtp", "rtsp"),
    *("rtsps", "rtspt", "rtspu", "sftp", "srt", "srtp", "tcp", "tls", "udp"),
)
"""Schemes that OpenCV's FFmpeg may open; a `file` URL is opened as the file that it names."""

_HOST = re.compile(r"(\[[^\]]*\]|[^\[\]:/?#@]*)(:\d*)?")


def is_url(name: str) -> bool:
    """Whether the source is a URL."""
    return URL.fullmatch(name) is not None


def scheme_of(url: str) -> str:
    """The scheme of a URL, in lower case."""
    return url.partition("://")[0].lower()


def file_of_url(name: str) -> Path | None:
    """The file that a `file://` URL names; None for any other name.

    Raises:
        SourceError: the URL names another machine.
    """
    match = URL.fullmatch(name)
    if match is None or match["scheme"].lower() != "file":
        return None
    host, slash, path = match["rest"].partition("/")
    if host.lower() not in ("", "localhost"):
        raise SourceError(
            f"{name} names a file on the machine {host!r}; write file:/// and the path for a file "
            "of this one"
        )
    return Path(unquote(slash + path, errors="surrogateescape"))


def playable(url: str) -> str:
    """A URL with user and password written as FFmpeg needs them.

    Raises:
        SourceError: the scheme is unknown, or the host is malformed.
    """
    match = URL.fullmatch(url)
    assert match is not None, "called for URLs only"
    shown, rest = without_password(url), match["rest"]
    if match["scheme"].lower() not in STREAM_SCHEMES:
        raise SourceError(
            f"cannot open {shown}: there is no scheme {match['scheme']!r}; use rtsp://, http://, "
            "https:// or another of FFmpeg's, or a file name"
        )
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    user = None
    if "@" in authority or _HOST.fullmatch(authority) is None:
        user, rest = split_user(rest)
    if user is not None:
        name, colon, password = user.partition(":")
        user = _quote(name) + colon + _quote(password) + "@"
    host = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if _HOST.fullmatch(host) is None or not host.strip(":"):
        raise SourceError(
            f"cannot open {shown}: its host must be NAME, NAME:PORT or [IPv6]:PORT; correct the "
            "address"
        )
    return f"{match['scheme']}://{user or ''}{rest}"


def credentials(url: str) -> tuple[str, str] | None:
    """The user and password of a URL; None if it has none."""
    match = URL.fullmatch(url)
    user = None if match is None else split_user(match["rest"])[0]
    if user is None:
        return None
    name, _, password = user.partition(":")
    return unquote(name), unquote(password)


def _quote(text: str) -> str:
    """Percent-encode what is not encoded yet."""
    return quote(text, safe="%!$&'()*+,;=~-._")
