# SPDX-License-Identifier: Apache-2.0
"""Run Triton around `MaskDetector` until a signal ends it."""

from __future__ import annotations

import ctypes
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mask_detector_ros.errors import BackendError, ParameterError
from mask_detector_ros.serving.environment import TritonFiles, find_triton
from mask_detector_ros.serving.repository import INPUTS, OUTPUTS, Word, to_map, write_model
from mask_detector_ros.shared_files import PACKAGE

TOKEN_KEY = "mask-detector-token"
"""Name of the HTTP header, and after `triton-grpc-protocol-` of the gRPC metadata."""

GUARDED_BY_TOKEN = (
    *("metadata", "inference", "shared-memory", "model-config", "model-repository", "statistics"),
)
"""Everything but the health checks, which an orchestrator makes without a token."""

NEVER = ("trace", "logging")
"""Through these a client could write files of the server."""

STOP_LIMIT = 10.0
"""Seconds that requests in progress get when the server stops."""

_PREFIX = "mask_detector_serve_"
_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)
_NOISE = ("NVML", "DCGM", "pinned_memory_manager", "CudaDriverHelper", "libdcgm")
"""Of a machine without an NVIDIA GPU."""


@dataclass(frozen=True)
class ServerOptions:
    """How the server listens and queues.

    Attributes:
        model_name: the name under which clients ask for it.
        address: where gRPC listens.
        http_address: where HTTP, health and metrics listen; they are never encrypted.
        grpc_port, http_port, metrics_port: the ports.
        instances: detectors, each a process.
        queue_size: requests that wait, at most; one more is rejected at once.
        queue_limit: seconds that a request waits, at most, before it is rejected.
        certificate, key: PEM files that turn on TLS for gRPC; empty for none.
        client_authority: PEM file; only clients with a certificate of its are served.
        token: what clients must send; empty for none.
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
        """Whether only this machine can reach gRPC and HTTP."""
        return _is_loopback(self.address) and _is_loopback(self.http_address)


def _is_loopback(address: str) -> bool:
    return address == "localhost" or address == "::1" or address.startswith("127.")


def write_repository(
    folder: Path,
    options: ServerOptions,
    values: Mapping[str, Any],
    facts: Mapping[str, str],
    packages: Path,
) -> None:
    """A model repository with the detector, for Triton's Python backend.

    Args:
        folder: of the repository.
        options: name, instances and queue.
        values: detector parameters that each instance loads with.
        facts: what `repository.describe_model` gives.
        packages: folder with the NumPy that the backend understands.
    """
    parameters = {**facts, "detector_values": json.dumps(dict(values))}
    version = write_model(
        folder,
        {
            "name": options.model_name,
            "backend": "python",
            # Images differ in size, and a batch gains nothing on a CPU.
            "max_batch_size": 0,
            "input": INPUTS,
            "output": OUTPUTS,
            "instance_group": {"count": options.instances, "kind": Word("KIND_CPU")},
            "dynamic_batching": {
                "default_queue_policy": {
                    "timeout_action": Word("REJECT"),
                    "default_timeout_microseconds": round(options.queue_limit * 1e6),
                    "allow_timeout_override": True,
                    "max_queue_size": options.queue_size,
                }
            },
            "parameters": to_map(parameters),
        },
    )
    # Triton starts a Python of its own; it must find what this one finds.
    places = [str(packages), str(PACKAGE.parent), *(p for p in sys.path if p)]
    (version / "model.py").write_text(
        f"import sys\n\nsys.path[:0] = {places!r}\n"
        "from mask_detector_ros.serving.triton_model import TritonPythonModel  # noqa\n",
        encoding="utf-8",
    )


def build_command(
    triton: TritonFiles, folder: Path, options: ServerOptions, prefix: str
) -> list[str]:
    """The command line of `tritonserver`.

    Args:
        triton: its files.
        folder: with the folders `models` and `backends`.
        options: how it listens.
        prefix: of the names of its shared memory.
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
        f"--exit-timeout-secs={STOP_LIMIT / 2:.0f}",
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


def require_free_ports(options: ServerOptions) -> None:
    """Check that the ports can be bound.

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


class TritonServer:
    """A running `tritonserver`, which ends with this process, whatever ends that.

    with TritonServer(options, values, facts) as server:
        server.wait_until_ready()
        ...

    Raises:
        BackendError: Triton is not installed.
        ParameterError: a port is taken.
    """

    def __init__(
        self,
        options: ServerOptions,
        values: Mapping[str, Any],
        facts: Mapping[str, str],
        say: Callable[[str], None],
    ) -> None:
        triton = find_triton()
        require_free_ports(options)
        remove_leftovers()
        self._options = options
        self._say = say
        self._last_lines: deque[str] = deque(maxlen=20)
        self._folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}_"))
        self._prefix = self._folder.name
        write_repository(self._folder / "models", options, values, facts, triton.packages)
        backend = self._folder / "backends" / "python"
        backend.mkdir(parents=True)
        for file in (triton.stub, *triton.backend.glob("*.*")):
            (backend / file.name).symlink_to(file)
        self._process = subprocess.Popen(
            build_command(triton, self._folder, options, self._prefix),
            env=_variables(triton),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            # Ctrl-C in a terminal reaches only this process, which then stops Triton in order.
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()

    def __enter__(self) -> TritonServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def poll(self) -> int | None:
        """Its exit code; None while it runs."""
        return self._process.poll()

    def wait_until_ready(self, timeout: float = 120.0) -> None:
        """Wait until every instance has loaded.

        Raises:
            BackendError: it ended, or took too long; the message gives its last reason.
        """
        end = time.monotonic() + timeout
        while not self._is_ready():
            if self.poll() is not None:
                self._reader.join(1)
                raise BackendError(f"Triton did not start: {self._reason()}")
            if time.monotonic() > end:
                raise BackendError(f"Triton was not ready after {timeout:.0f} s: {self._reason()}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Let requests in progress end, stop the server and remove its files."""
        if self.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            # A server that was stopped by SIGSTOP would not see it.
            self._process.send_signal(signal.SIGCONT)
            try:
                self._process.wait(STOP_LIMIT)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._reader.join(1)
        remove(self._folder)

    def _is_ready(self) -> bool:
        request = b"GET /v2/health/ready HTTP/1.0\r\n\r\n"
        address = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(
            self._options.http_address, self._options.http_address
        )
        try:
            with socket.create_connection((address, self._options.http_port), 1) as connection:
                connection.sendall(request)
                return b" 200 " in connection.recv(64)
        except OSError:
            return False

    def _read_log(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            line = line.strip()
            if line and not any(word in line for word in _NOISE):
                self._last_lines.append(line)
                self._say(line)

    def _reason(self) -> str:
        lines = [line for line in self._last_lines if "rror" in line]
        return (lines or list(self._last_lines) or ["no reason given"])[-1]


def _variables(triton: TritonFiles) -> dict[str, str]:
    """The environment of the server, in which its Python backend finds this Python."""
    folders = (triton.python_library, str(triton.libraries), os.environ.get("LD_LIBRARY_PATH", ""))
    base = getattr(sys, "_base_executable", None) or sys.executable
    path = f"{Path(base).resolve().parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(filter(None, folders)), "PATH": path}


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGTERM)


def remove_leftovers() -> None:
    """Remove the files of servers whose process is gone."""
    for folder in (Path(tempfile.gettempdir()), Path("/dev/shm")):
        for path in folder.glob(f"{_PREFIX}*"):
            number = path.name.removeprefix(_PREFIX).partition("_")[0]
            if number.isdecimal() and not Path(f"/proc/{number}").exists():
                remove(path)


def remove(folder: Path) -> None:
    """Remove the folder of a server, and its shared memory."""
    shutil.rmtree(folder, ignore_errors=True)
    for path in Path("/dev/shm").glob(f"{folder.name}*"):
        path.unlink(missing_ok=True)
