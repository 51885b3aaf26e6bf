# SPDX-License-Identifier: Apache-2.0
"""URLs as sources: hide secrets for logs, and find the file of a file URL.

Camera URLs defeat a standard parser: cameras accept unescaped `/`, `?`, `#` and `@` in a password,
and carry passwords in the query and even in the path.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote, unquote

from mask_detector_ros.errors import SourceError

STREAM_SCHEMES = (
    *("ftp", "hls", "http", "https", "mms", "mmsh", "rtmp", "rtmps", "rtmpt", "rtp", "rtsp"),
    *("rtsps", "rtspt", "rtspu", "sftp", "srt", "srtp", "tcp", "tls", "udp"),
)
"""Schemes that OpenCV's FFmpeg may open; a `file` URL is opened as the file that it names."""

HIDDEN = "***"

_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<rest>.*)", re.DOTALL)
_HOST = re.compile(r"(\[[^\]]*\]|[^\[\]:/?#@]*)(:\d*)?")
# A key that may introduce a secret, and its value up to the next `key=`: a password can hold any
# of the characters that separate values, so these alone do not end it.
_SECRET = re.compile(
    r"(?P<key>(?:^|(?<=[^A-Za-z0-9.%-]))(?:u|p|pw|pin|otp|l|"
    r"[A-Za-z0-9.%-]*(?:pass|pas|pwd|psw|secret|token|key|auth|sig|cred|session|sid|usr|user"
    r"|login|account|jwt|bearer)[A-Za-z0-9.%-]*)=)"
    r"(?P<value>.*?)(?=[&;_/?#,][A-Za-z0-9.%-]+=|$)",
    re.IGNORECASE | re.DOTALL,
)
_URL_IN_TEXT = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")
_SECRET_FOLDER = re.compile(
    r"(/(?:pass\w*|pwd|secret|token|\w*key|auth)[/:])[^/?#]+", re.IGNORECASE
)
_LOGIN = re.compile(r"(?<![\w/.])[\w.+-]+:[^\s/@]+@(?=[\w\[])|(?<=/)[\w.+-]+:[^\s/@]+@(?=[\w\[])")
"""`user:password@host` where a scheme is missing or misspelt."""

_PLAIN_KEYS = frozenset(
    (
        *("action", "audio", "cam", "camera", "channel", "codec", "compression", "format", "fps"),
        *("height", "media", "mode", "name", "profile", "proto", "protocol", "quality", "rate"),
        *("resolution", "size", "source", "stream", "subtype", "timeout", "track", "transport"),
        *("type", "unicast", "v", "video", "videocodec", "width"),
    )
)
"""Keys of a query whose values a log may show; of others only short numbers and words."""

_PLAIN_VALUE = re.compile(r"\w{0,3}|\d{4,5}|\d+x\d+|true|false|\*\*\*.*", re.IGNORECASE)


def is_url(name: str) -> bool:
    """Whether a source's name is a URL."""
    return _URL.fullmatch(name) is not None


def scheme_of(url: str) -> str:
    """The scheme of a URL, in lower case."""
    return url.partition("://")[0].lower()


def file_of_url(name: str) -> Path | None:
    """The file that a `file://` URL names; None for any other name.

    Raises:
        SourceError: the URL names another machine.
    """
    match = _URL.fullmatch(name)
    if match is None or match["scheme"].lower() != "file":
        return None
    host, slash, path = match["rest"].partition("/")
    if host.lower() not in ("", "localhost"):
        raise SourceError(
            f"{name} names a file on the machine {host!r}; write file:/// and the path for a file "
            "of this one"
        )
    return Path(unquote(slash + path, errors="surrogateescape"))


def without_password(name: str) -> str:
    """A URL for logs, without user, password and the secrets of its query; other names are
    unchanged.

    When in doubt it hides more.
    """
    match = _URL.fullmatch(name)
    if match is None:
        return hide_passwords(name) if "://" in name else _LOGIN.sub(f"{HIDDEN}@", name)
    if match["scheme"].lower() == "file":
        return name
    user, rest = _split_user(match["rest"])
    path, mark, query = _SECRET.sub(_hide_value, rest).partition("?")
    shown = _SECRET_FOLDER.sub(rf"\g<1>{HIDDEN}", path) + mark + _show_query(query)
    return f"{match['scheme']}://{HIDDEN + '@' if user is not None else ''}{shown}"


def hide_passwords(text: str) -> str:
    """A message for logs with every URL in it freed of its password."""
    shown = _URL_IN_TEXT.sub(lambda found: without_password(found[0]), text)
    return _LOGIN.sub(f"{HIDDEN}@", shown)


def playable(url: str) -> str:
    """A URL with user and password written as FFmpeg needs them.

    Raises:
        SourceError: the scheme is unknown, or the host is malformed.
    """
    match = _URL.fullmatch(url)
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
        user, rest = _split_user(rest)
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
    """User and password of a URL; None if it has none."""
    match = _URL.fullmatch(url)
    user = None if match is None else _split_user(match["rest"])[0]
    if user is None:
        return None
    name, _, password = user.partition(":")
    return unquote(name), unquote(password)


def _show_query(query: str) -> str:
    parts = re.split(r"([&;])", query)
    for number, part in enumerate(parts):
        key, equals, value = part.partition("=")
        plain = key.lower() in _PLAIN_KEYS or _PLAIN_VALUE.fullmatch(value)
        if equals and (not plain or "@" in value):
            parts[number] = f"{key}={HIDDEN}"
    return "".join(parts)


def _hide_value(found: re.Match[str]) -> str:
    # Already hidden, followed by the colon of the surrounding message.
    if re.fullmatch(r"\*\*\*[:;,.]?", found["value"]):
        return found[0]
    return found["key"] + HIDDEN


def _split_user(rest: str) -> tuple[str | None, str]:
    """The part before the host, and the rest from the host on."""
    user, at, after = rest.rpartition("@")
    # Without a colon before its first separator, an `@` behind that is part of the path.
    if not at or (re.search(r"[/?#]", user) and not re.match(r"[^/?#]*[:@]", user)):
        return None, rest
    return user, after


def _quote(text: str) -> str:
    """Percent-encode what is not encoded yet."""
    return quote(text, safe="%!$&'()*+,;=~-._")
