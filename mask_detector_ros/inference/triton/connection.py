# SPDX-License-Identifier: Apache-2.0
"""A gRPC connection to an inference server: address, TLS, token, deadlines and errors."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Its own reports go to stderr, whatever this package logs.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc
from tritonclient.grpc import service_pb2_grpc

from mask_detector_ros.errors import (
    BackendError,
    ImageError,
    MaskDetectorError,
    ParameterError,
    ServerError,
)
from mask_detector_ros.inference.options import ServerOptions

DEFAULT_PORT = 8001
"""Triton's gRPC port."""

MAX_REPLY_BYTES = 16 << 20
"""Maximum size of a reply, which holds a few numbers per face."""

KEEPALIVE = 10.0
"""Seconds of silence during a call before a ping, which finds a connection whose other end is gone.
Triton tolerates two pings in a row without data."""

KEEPALIVE_TIMEOUT = 2.0
"""Seconds to wait for the ping's answer."""

LATE_LIMIT = 2
"""Consecutive calls without an answer after which a connection counts as lost."""

_URL = re.compile(r"(?:(grpcs?)://)?([\w.-]+|\[[0-9A-Fa-f:.]+\])(?::(\d{1,5}))?/?", re.ASCII)
_TOKEN = r"[A-Za-z0-9._~+/=-]{16,}"
_OVERLOAD = ("exceeds maximum queue size", "request timeout expired")
_RESTRICTED = "protocol is restricted"
"""Triton's messages, with the status UNAVAILABLE, for requests that its queue rejects and for those
without the token."""

TOKEN_HEADER = "triton-grpc-protocol-mask-detector-token"
"""Triton's restricted protocols take headers of this form; `mask-detector serve` sets the same."""


@dataclass(frozen=True)
class Address:
    """Where an inference server listens."""

    host: str
    port: int
    tls: bool

    @classmethod
    def parse(cls, url: str) -> Address:
        """Parse the address of a connection to a server: `HOST`, `grpc://HOST:PORT` or
        `grpcs://HOST:PORT`.

        Raises:
            ParameterError: it is nothing of that kind.
        """
        match = _URL.fullmatch(url)
        if match is None or not 0 < int(match[3] or DEFAULT_PORT) < 1 << 16:
            raise ParameterError(
                "server_url must be HOST, grpc://HOST:PORT, or grpcs://HOST:PORT for TLS; Triton's"
                f" gRPC port is {DEFAULT_PORT}, got {url!r}"
            )
        return cls(match[2], int(match[3] or DEFAULT_PORT), match[1] == "grpcs")

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether a connection's server address is this machine; names are not looked up, which may
        take long."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return False


class Connection:
    """A gRPC connection to an inference server; each call has a deadline.

    Attributes:
        lost: whether the connection broke, or the server stopped answering.
    """

    def __init__(self, options: ServerOptions) -> None:
        self.address = Address.parse(options.url)
        self.is_loopback = self.address.is_loopback
        self.lost = False
        self._late = 0
        token = _read_token(options.token_file)
        self._headers = [(TOKEN_HEADER, token)] if token else []
        settings = [
            ("grpc.max_send_message_length", -1),
            ("grpc.max_receive_message_length", MAX_REPLY_BYTES),
            ("grpc.keepalive_time_ms", int(KEEPALIVE * 1000)),
            ("grpc.keepalive_timeout_ms", int(KEEPALIVE_TIMEOUT * 1000)),
            # A new connection must not inherit the broken one of its predecessor.
            ("grpc.use_local_subchannel_pool", 1),
            # Robots often have http_proxy set; it is for their downloads.
            ("grpc.enable_http_proxy", 0),
        ]
        _check_tls(self.address, options)
        if self.address.tls:
            credentials = grpc.ssl_channel_credentials(
                _read("server_ca", options.ca) or None,
                _read("server_key", options.key) or None,
                _read("server_certificate", options.certificate) or None,
            )
            self._channel = grpc.secure_channel(str(self.address), credentials, settings)
        else:
            self._channel = grpc.insecure_channel(str(self.address), settings)
        self._has_answered = False
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)

    def check(self) -> None:
        """Mark an ended gRPC connection as lost: gRPC would reconnect, perhaps to another
        server."""
        # The public way, `subscribe`, takes a thread that polls.
        state = self._channel._channel.check_connectivity_state(False)
        if self._has_answered and state != grpc.ChannelConnectivity.READY.value[0]:
            self.lost = True

    def call(self, method: str, request: Any, deadline: float) -> Any:
        """Call a method of the inference service over gRPC; its answer must come
        within `deadline` seconds.

        Raises:
            ServerError: the server is unavailable, too late, overloaded, or fails.
            NotFoundError: the requested model does not exist.
            ImageError: the server rejects the image, or the parameters beside it.
            BackendError: the server rejects this client.
        """
        call = getattr(self._stub, method)
        try:
            reply = call(request, timeout=deadline, metadata=self._headers)
        except grpc.RpcError as error:
            raise self._explain(error, deadline) from error
        self._late = 0
        self._has_answered = True
        return reply

    def begin(self, method: str, request: Any, deadline: float) -> Callable[[], Any]:
        """Begin a gRPC call; the returned function waits for the answer and raises the same errors.

        Slower than `call`, since another thread waits for the network.
        """
        start = getattr(self._stub, method).future
        future = start(request, timeout=deadline, metadata=self._headers)

        def finish() -> Any:
            try:
                return future.result()
            except grpc.RpcError as error:
                raise self._explain(error, deadline) from error

        return finish

    def _explain(self, error: Any, deadline: float) -> MaskDetectorError:
        code, details = error.code(), " ".join((error.details() or "").split())
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            self._late += 1
            self.lost |= self._late >= LATE_LIMIT
            return ServerError(f"the server at {self.address} did not answer in {deadline:.2g} s")
        if code is grpc.StatusCode.UNAVAILABLE:
            if any(text in details.lower() for text in _OVERLOAD):
                return ServerError(f"the server at {self.address} is overloaded ({details})")
            if _RESTRICTED in details.lower():
                return BackendError(
                    f"the server at {self.address} demands a token, or another one; give it in"
                    " server_token_file"
                )
            self.lost = True
            reason = re.sub(r"^[A-Z_]+: ", "", details.rpartition("last error: ")[2])[:200]
            return ServerError(
                f"no inference server answers at {self.address} ({reason}); start it, or check"
                " server_url"
            )
        if code is grpc.StatusCode.NOT_FOUND:
            return NotFoundError(details)
        if code is grpc.StatusCode.UNIMPLEMENTED:
            return BackendError(
                f"the server at {self.address} lacks a call ({details[:300]}); it must be Triton,"
                " or offer Triton's extensions of the protocol"
            )
        if code is grpc.StatusCode.INVALID_ARGUMENT:
            return ImageError(f"the server at {self.address} rejects the image: {details[:300]}")
        # It broke down, or is about to; another attempt may go well.
        return ServerError(f"the server at {self.address} fails ({code.name}: {details[:300]})")

    def close(self) -> None:
        """Close the gRPC connection; calls in progress fail."""
        self.lost = True
        self._channel.close()


class NotFoundError(BackendError):
    """The inference server knows no model of this name or version."""


def _check_tls(address: Address, options: ServerOptions) -> None:
    if not address.tls and (options.ca or options.certificate or options.key):
        raise ParameterError(
            "server_ca, server_certificate and server_key are for TLS; give server_url as"
            f" grpcs://{address}"
        )
    if bool(options.certificate) != bool(options.key):
        raise ParameterError("server_certificate and server_key belong together; give both")


def _read_token(path: str) -> str:
    token = _read("server_token_file", path).decode("ascii", errors="replace").strip()
    if path and not re.fullmatch(_TOKEN, token):
        raise BackendError(
            f"{path} holds no token: server_token_file takes a file with one, of at least 16"
            " letters, digits or ._~+/=-"
        )
    return token


def _read(parameter: str, path: str) -> bytes:
    if not path:
        return b""
    try:
        return Path(path).expanduser().read_bytes()
    except OSError as error:
        raise BackendError(f"cannot read {parameter} {path} ({error.strerror})") from error
