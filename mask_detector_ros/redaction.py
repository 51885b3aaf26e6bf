# SPDX-License-Identifier: Apache-2.0
"""Hide passwords, tokens and stream keys in everything that is shown, logged or recorded.

Camera URLs defeat a standard parser: cameras accept unescaped `/`, `?`, `#` and `@` in a password,
and carry secrets in the query, in the path, and percent-encoded. When in doubt more is hidden.
"""

import re
from urllib.parse import unquote

HIDDEN = "***"

MAX_LENGTH = 10_000
"""Characters of a message that are kept: a peer can make it quote a name of megabytes."""

PLACEHOLDER = "USER:PASSWORD"
"""What our own advice writes for a login; for a port it writes PORT."""

URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]{0,30})://(?P<rest>.*)", re.DOTALL)

_ALREADY = re.compile(r"[\"']?\*\*\*[:;,.]?[\"']?")
"""What is hidden already, perhaps followed by the punctuation of the surrounding message."""

_KEYED = (
    r"pass|pas|pwd|psw|secret|token|key|auth|sig|cred|session|sid|usr|user|login|account|jwt|bearer"
)
_SECRET = re.compile(
    r"(?P<key>(?:^|(?<=[^A-Za-z0-9.%-]))(?:u|p|pw|pin|otp|l|"
    rf"[A-Za-z0-9.%-]{{0,64}}(?:{_KEYED})[A-Za-z0-9.%-]{{0,64}})=)"
    r"(?P<value>.*?)(?=[&;_/?#,][A-Za-z0-9.%-]{1,128}=|$)",
    re.IGNORECASE | re.DOTALL,
)
"""A key that may introduce a secret, and its value up to the next `key=`: a password can hold any
of the characters that separate values, so these alone do not end it."""

_SECRET_FOLDER = re.compile(
    r"(/(?:pass\w*|pwd|secret|token|\w*key|auth)[/:])[^/?#]+", re.IGNORECASE
)

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

_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
_GROUPS = re.compile(r"[A-Za-z0-9]{4,12}(?:-[A-Za-z0-9]{4,12}){3,}")
"""Stream keys and UUIDs: groups joined by dashes."""

_URL_IN_TEXT = re.compile(
    # In quotes, or with a password that holds spaces, or up to the next space.
    r"(?<=\")[A-Za-z][A-Za-z0-9+.-]{0,30}://[^\"\n]*(?=\")"
    r"|(?<=')[A-Za-z][A-Za-z0-9+.-]{0,30}://[^'\n]*(?=')"
    r"|[A-Za-z][A-Za-z0-9+.-]{0,30}://[^\s@/:]*:(?!\d+(?:[/?#:\s]|$))(?:(?!://)[^@\n])*@\S*"
    r"|[A-Za-z][A-Za-z0-9+.-]{0,30}://\S+"
)
_LOGIN = re.compile(r"(?:(?<![\w/.])|(?<=/))[\w.+-]{1,64}:[^\s/@]{1,256}@(?=[\w\[])")
"""`user:password@host` where a scheme is missing or misspelt."""

_NAME = (
    r"[\w.-]{0,64}(?:passw(?:or)?d|passwd|pwd|passphrase|secret|token|(?:api|access|stream|private)[-_]?key"
    r"|(?:user|proxy)[-_](?:pw|id)|streamid|authorization|credentials?)\d*"
)
_SETTING = re.compile(
    rf"(?P<key>(?<![\w.-]){_NAME}\s*:?=\s*)"
    r"(?P<value>\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|\S+)"
    rf"|(?P<quoted>[\"']{_NAME}[\"']\s*[:,]\s*)(?P<text>\"[^\"]*\"|'[^']*')",
    re.IGNORECASE,
)
"""A secret as a property of a GStreamer element, an option, or an entry of a dictionary."""

_HEADER = re.compile(
    r"((?:proxy-)?authorization[\"']?\s*[:=]\s*[\"']?|\bbearer\s+(?=\S{8}))[^\"'\n]+", re.IGNORECASE
)


def without_password(name: str) -> str:
    """Redact the name of a source for logs: a URL without user, password, stream key and the
    secrets of its query; of a GStreamer pipeline, those of its properties."""
    match = URL.fullmatch(name)
    if match is None:
        return hide_passwords(name)
    scheme = match["scheme"].lower()
    if scheme == "file":
        return name
    user, rest = split_user(match["rest"])
    path, mark, query = _SECRET.sub(_hide_value, rest).partition("?")
    if "%" in path:
        # A key or value may be percent-encoded, even more than once.
        plain = _SECRET.sub(_hide_value, _decode(path))
        shown_plain = _hide_path(scheme, plain)
        shown = shown_plain if shown_plain != _decode(path) else path
    else:
        shown = _hide_path(scheme, path)
    login = "" if user is None else f"{user if user == PLACEHOLDER else HIDDEN}@"
    return f"{match['scheme']}://{login}{shown}{mark}{_show_query(query)}"


def hide_passwords(text: str) -> str:
    """Redact a message for logs: its URLs without passwords, and no password, token or header with
    one; at most `MAX_LENGTH` characters of it."""
    if len(text) > MAX_LENGTH:
        text = f"{text[:MAX_LENGTH]} ..."
    # A secret may look like a URL itself.
    text = _SETTING.sub(lambda found: _hide_setting(found) if "://" in found[0] else found[0], text)
    shown, place = "", 0
    for found in _URL_IN_TEXT.finditer(text):
        shown += _hide_settings(text[place : found.start()]) + without_password(found[0])
        place = found.end()
    return shown + _hide_settings(text[place:])


def split_user(rest: str) -> tuple[str | None, str]:
    """Split what follows `://`, to redact it: the part before the host, and the rest from the host
    on."""
    user, at, after = rest.rpartition("@")
    # Without a colon before its first separator, an `@` behind that is part of the path.
    if not at or (re.search(r"[/?#]", user) and not re.match(r"[^/?#]*[:@]", user)):
        return None, rest
    return user, after


def _hide_path(scheme: str, path: str) -> str:
    """Host and path without their secrets."""
    host, slash, folders = path.partition("/")
    name, colon, port = host.rpartition(":")
    if colon and not re.fullmatch(r"[\d*]*|.*\]|PORT\W*", port):
        # Not a port: the first part of a password, in a message that was split at a space.
        host = f"{name}:{HIDDEN}"
    if scheme.startswith("rtmp"):
        # rtmp://HOST/APPLICATION/STREAM_KEY
        application, separator, key = folders.partition("/")
        folders = application + separator + (HIDDEN if key else "")
    parts = _SECRET_FOLDER.sub(rf"\g<1>{HIDDEN}", f"/{folders}")[1:].split("/")
    return host + slash + "/".join(map(_hide_random, parts))


def _hide_random(part: str) -> str:
    """A folder or file name; hidden, but for the suffix, if it looks like a key."""
    stem, dot, suffix = part.partition(".")
    return HIDDEN + dot + suffix if _looks_random(stem) else part


def _looks_random(text: str) -> bool:
    """Whether a name holds a key: many changes between letters, capitals and digits."""
    if _GROUPS.fullmatch(text) and re.search(r"\d", text):
        return True
    for run in re.findall(r"[A-Za-z0-9]+", text):
        mean_word = len(run) / len(_WORD.findall(run))
        if (len(run) >= 12 and mean_word < 3) or (len(run) >= 10 and mean_word < 2):
            return True
    return False


def _show_query(query: str) -> str:
    parts = re.split(r"([&;])", query)
    for number, part in enumerate(parts):
        key, equals, value = part.partition("=")
        name = _decode(key).lower()
        plain = name in _PLAIN_KEYS or _PLAIN_VALUE.fullmatch(value)
        is_secret = "@" in value or _looks_random(value) or _SECRET.match(f"{name}={value}")
        if equals and not _ALREADY.fullmatch(value) and (not plain or is_secret):
            parts[number] = f"{key}={HIDDEN}"
        elif not equals and _looks_random(part):
            parts[number] = HIDDEN
    return "".join(parts)


def _decode(text: str) -> str:
    """The text without percent-encoding, also where it was encoded twice."""
    for _ in range(3):
        text = unquote(text)
    return text


def _hide_value(found: re.Match[str]) -> str:
    if _ALREADY.fullmatch(found["value"]):
        return found[0]
    return found["key"] + HIDDEN


def _hide_settings(text: str) -> str:
    """Text between URLs, without its secrets."""
    shown = _LOGIN.sub(f"{HIDDEN}@", text)
    shown = _HEADER.sub(rf"\g<1>{HIDDEN}", shown)
    return _SETTING.sub(_hide_setting, shown)


def _hide_setting(found: re.Match[str]) -> str:
    key, value = found["key"] or found["quoted"], found["value"] or found["text"]
    if _ALREADY.fullmatch(value):
        return found[0]
    return key + (f"{value[0]}{HIDDEN}{value[0]}" if value[0] in "\"'" else HIDDEN)
