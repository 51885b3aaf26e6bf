# SPDX-License-Identifier: Apache-2.0
"""A TCP proxy that can silently drop connections, like a router that forgot them."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress


class SilentProxy:
    """Passes bytes on between clients and a server.

    Args:
        port: of the server on this machine.

    Attributes:
        port: where clients connect.
    """

    def __init__(self, port: int) -> None:
        self._server_port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._silent: list[threading.Event] = []
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def silence(self) -> None:
        """Forward nothing more over the existing connections, which stay open."""
        for event in self._silent:
            event.set()

    def close(self) -> None:
        """Close all connections."""
        for each in (self._listener, *self._sockets):
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._server_port))
                silent = threading.Event()
                self._silent.append(silent)
                self._sockets += [client, server]
                for pair in ((client, server), (server, client)):
                    threading.Thread(
                        target=self._pass_on, args=(*pair, silent), daemon=True
                    ).start()

    def _pass_on(
        self, source: socket.socket, target: socket.socket, silent: threading.Event
    ) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                if not silent.is_set():
                    target.sendall(data)
            if not silent.is_set():
                target.shutdown(socket.SHUT_WR)
