# SPDX-License-Identifier: Apache-2.0
"""Diagnose why a stream cannot be opened by asking its server, since OpenCV's FFmpeg does not
say."""

import hashlib
import re
import secrets
import socket
from base64 import b64encode
from urllib.error import HTTPError, URLError
from urllib.request import (
    HTTPBasicAuthHandler,
    HTTPDigestAuthHandler,
    HTTPPasswordMgrWithDefaultRealm,
    build_opener,
)

from mask_detector_ros.sources.urls import credentials, playable, scheme_of

TIMEOUT = 3.0
"""Timeout of each answer of the server, in seconds."""

PORTS = {"rtsp": 554, "rtsps": 322, "rtmp": 1935, "rtmps": 443, "ftp": 21, "tcp": 0, "tls": 0}
"""Default ports of the schemes over TCP."""

_REASONS = {
    401: "wants another user or password (401)",
    403: "does not allow it (403)",
    404: "has nothing at this path (404); check the path",
    454: "does not know this session (454)",
    461: "does not offer a transport that FFmpeg takes (461)",
}


def why_unplayable(url: str) -> str:
    """Diagnose a stream that cannot be opened: the reason as a clause, such as `the server wants
    another user or password (401)`."""
    try:
        return _ask(url)
    except socket.gaierror:
        return "no machine has this name; check the address"
    except ConnectionRefusedError:
        return "nothing listens at this port; check the port and that the sender runs"
    except TimeoutError:
        return "nobody answers; check the address and the network"
    except (OSError, ValueError) as error:
        return f"the server cannot be reached ({getattr(error, 'strerror', None) or error})"


def _ask(url: str) -> str:
    scheme = scheme_of(url)
    if scheme in ("http", "https"):
        code = _http_status(url)
    elif scheme == "rtsp":
        code = _rtsp_status(url)
    else:
        if scheme in PORTS:
            socket.create_connection(_address(_without_user(playable(url))), TIMEOUT).close()
        return "check the address and that its sender runs"
    if code == 401 and credentials(url) is None:
        return (
            f"the server wants user and password (401); write {scheme}://USER:PASSWORD@ before "
            "the host"
        )
    if 200 <= code < 300:
        return "the server answers, but sends no video that FFmpeg can read; check the path"
    return f"the server {_REASONS.get(code, f'answers with the error {code}')}"


def _http_status(url: str) -> int:
    user, password = credentials(url) or ("", "")
    bare = _without_user(playable(url))
    passwords = HTTPPasswordMgrWithDefaultRealm()
    if user:
        passwords.add_password(None, bare, user, password)
    handlers = (HTTPBasicAuthHandler(passwords), HTTPDigestAuthHandler(passwords))
    try:
        with build_opener(*handlers).open(bare, timeout=TIMEOUT) as answer:
            return int(answer.status)
    except HTTPError as error:
        return error.code
    except URLError as error:
        raise (
            error.reason if isinstance(error.reason, OSError) else OSError(error.reason)
        ) from error


def _rtsp_status(url: str) -> int:
    """The status of DESCRIBE (RFC 2326), with authentication if requested."""
    bare = _without_user(playable(url))
    host, port = _address(bare)
    with socket.create_connection((host, port), TIMEOUT) as connection:
        answer = _describe(connection, bare, 1, "")
        challenges = re.findall(r"^WWW-Authenticate:\s*(.*)$", answer, re.MULTILINE | re.IGNORECASE)
        user = credentials(url)
        if _status(answer) == 401 and user is not None and challenges:
            # The server may close after a challenge; Digest is the safer of two.
            challenge = min(challenges, key=lambda text: not text.lower().startswith("digest"))
            login = _authorization(challenge, *user, bare)
            with socket.create_connection((host, port), TIMEOUT) as again:
                return _status(_describe(again, bare, 2, f"Authorization: {login}\r\n"))
    return _status(answer)


def _describe(connection: socket.socket, url: str, number: int, header: str) -> str:
    request = (
        f"DESCRIBE {url} RTSP/1.0\r\nCSeq: {number}\r\nAccept: application/sdp\r\n{header}\r\n"
    )
    connection.sendall(request.encode())
    answer = b""
    while b"\r\n\r\n" not in answer and (part := connection.recv(4096)):
        answer += part
    return answer.decode(errors="replace")


def _status(answer: str) -> int:
    match = re.match(r"RTSP/\d\.\d (\d{3})", answer)
    if match is None:
        raise OSError("it does not speak RTSP")
    return int(match[1])


def _authorization(challenge: str, user: str, password: str, url: str) -> str:
    """Basic or Digest authentication with MD5 (RFC 2617), as cameras request."""
    if not challenge.lower().startswith("digest"):
        return "Basic " + b64encode(f"{user}:{password}".encode()).decode()
    fields = dict(re.findall(r'(\w+)="?([^",]*)"?', challenge))
    realm, nonce = fields.get("realm", ""), fields.get("nonce", "")
    secret, request = _md5(f"{user}:{realm}:{password}"), _md5(f"DESCRIBE:{url}")
    more = ""
    if "auth" in fields.get("qop", ""):
        own = secrets.token_hex(8)
        response = _md5(f"{secret}:{nonce}:00000001:{own}:auth:{request}")
        more = f', qop=auth, nc=00000001, cnonce="{own}"'
    else:
        response = _md5(f"{secret}:{nonce}:{request}")
    return (
        f'Digest username="{user}", realm="{realm}", nonce="{nonce}", uri="{url}", '
        f'response="{response}"{more}'
    )


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def _without_user(url: str) -> str:
    scheme, _, rest = url.partition("://")
    authority, separator, path = re.split(r"([/?#]|$)", rest, maxsplit=1)
    return f"{scheme}://{authority.rpartition('@')[2]}{separator}{path}"


def _address(url: str) -> tuple[str, int]:
    authority = re.split(r"[/?#]", url.partition("://")[2], maxsplit=1)[0]
    match = re.fullmatch(r"\[?(?P<host>[^\[\]]*?)\]?(:(?P<port>\d+))?", authority)
    assert match is not None, "playable() has checked the host"
    return match["host"], int(match["port"] or PORTS[scheme_of(url)])
