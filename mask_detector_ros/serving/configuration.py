# SPDX-License-Identifier: Apache-2.0
"""Options of the inference server, and the command line of Triton for them."""

import secrets
import socket
from dataclasses import dataclass
from pathlib import Path

from mask_detector_ros.errors import ParameterError
from mask_detector_ros.serving.triton_environment import TritonFiles

TOKEN_KEY = "mask-detector-token"
"""Name of the HTTP header, and after `triton-grpc-protocol-` of the gRPC metadata."""

GUARDED_BY_TOKEN = (
    *("metadata", "inference", "shared-memory", "model-config", "model-repository", "statistics"),
)
"""Everything but the health checks, which an orchestrator makes without a token."""

NEVER = ("trace", "logging")
"""Through these a client could write files of the server."""

EXIT_LIMIT = 5
"""Seconds that Triton gives requests in progress when it stops."""


@dataclass(frozen=True)
class ServingOptions:
    """Configuration of the inference server.

    Attributes:
        model_name: the name under which clients ask for it.
        address: address on which gRPC listens.
        http_address: address of HTTP, health and metrics; they are never encrypted.
        grpc_port, http_port, metrics_port: the ports.
        instances: detectors, each a process.
        queue_size: maximum number of waiting requests; further ones are rejected at once.
        queue_limit: maximum seconds that a request waits before it is rejected.
        certificate, key: PEM files that turn on TLS for gRPC; empty for none.
        client_authority: PEM file of an authority; only clients with its certificates are served.
        token: token that clients must send; empty for none.
    """

    model_name: str
    address: str
    http_address: str
    grpc_port: int
    http_port: int
    metrics_port: int
    instances: int
    queue_size: int
    queue_limit: float
    certificate: str = ""
    key: str = ""
    client_authority: str = ""
    token: str = ""

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the configured server's gRPC and HTTP."""
        return _is_loopback(self.address) and _is_loopback(self.http_address)


def _is_loopback(address: str) -> bool:
    return address == "localhost" or address == "::1" or address.startswith("127.")


def build_command(
    triton: TritonFiles, folder: Path, options: ServingOptions, prefix: str
) -> list[str]:
    """Build the command line of `tritonserver` from the server's configuration.

    Args:
        folder: folder with the folders `models` and `backends`.
        prefix: prefix of the names of its shared memory.
    """
    # Nobody knows this token.
    closed, own = f"={secrets.token_urlsafe(24)}", [*NEVER]
    if not options.is_local:
        # Shared memory of this machine is none of another machine's business.
        own.append("shared-memory")
    restrictions = [f"{','.join(own)}:closed{closed}"]
    if options.token:
        guarded = [name for name in GUARDED_BY_TOKEN if name not in own]
        restrictions.append(f"{','.join(guarded)}:{TOKEN_KEY}={options.token}")
    command = [
        str(triton.server),
        f"--model-repository={folder / 'models'}",
        f"--backend-directory={folder / 'backends'}",
        f"--backend-config=python,shm-region-prefix-name={prefix}",
        f"--grpc-address={options.address}",
        f"--grpc-port={options.grpc_port}",
        f"--http-address={options.http_address}",
        f"--http-port={options.http_port}",
        f"--metrics-port={options.metrics_port}",
        "--disable-auto-complete-config",
        "--log-info=false",
        f"--exit-timeout-secs={EXIT_LIMIT}",
        *(f"--grpc-restricted-protocol={each}" for each in restrictions),
        *(f"--http-restricted-api={each}" for each in restrictions),
    ]
    if options.certificate:
        mutual = "-mutual" if options.client_authority else ""
        command += [f"--grpc-use-ssl{mutual}=true", f"--grpc-server-cert={options.certificate}"]
        command += [f"--grpc-server-key={options.key}"]
    if options.client_authority:
        command.append(f"--grpc-root-cert={options.client_authority}")
    return command


def require_free_ports(options: ServingOptions) -> None:
    """Check that the server's configured ports can be bound.

    Raises:
        ParameterError: one is in use or not ours to take.
    """
    for kind, address in (
        ("grpc", options.address),
        ("http", options.http_address),
        ("metrics", options.http_address),
    ):
        port = getattr(options, f"{kind}_port")
        try:
            info = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
            with socket.socket(info[0], socket.SOCK_STREAM) as listener:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind(info[4])
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise ParameterError(
                f"cannot listen on {address}:{port} ({reason}); choose another address, or"
                f" another port with --{kind}-port"
            ) from error
