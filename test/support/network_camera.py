# SPDX-License-Identifier: Apache-2.0
"""A camera on loopback that sends JPEG images over HTTP."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import cv2
import numpy as np


class NetworkCamera:
    """Sends multipart/x-mixed-replace, as network cameras do.

    Args:
        port: of loopback; 0 takes a free one.
        brightness: of the image, where `image` is not given.
        image: (H, W, 3) of the n-th frame.
        rate: frames a second.
        frames: after so many it hangs up.
        status: of the answer; no stream comes but with 200.
    """

    def __init__(
        self,
        port: int = 0,
        brightness: int = 0,
        image: Callable[[int], Any] | None = None,
        rate: float = 30.0,
        frames: int = 2**31,
        status: int = 200,
    ) -> None:
        plain = np.full((48, 64, 3), brightness, np.uint8)
        make = image or (lambda number: plain)
        self.gone = threading.Event()
        self.silent = threading.Event()
        self.began = 0.0
        camera = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                if status != 200:
                    return
                camera.began = camera.began or time.monotonic()
                try:
                    for number in range(frames):
                        if camera.gone.wait(1 / rate):
                            return
                        if not camera.silent.is_set():
                            self.send(cv2.imencode(".jpg", make(number))[1].tobytes())
                except OSError:
                    """The client has left."""

            def send(self, jpeg: bytes) -> None:
                part = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n"
                self.wfile.write(part % (len(jpeg), jpeg))

            def log_message(self, *_: Any) -> None:
                """Keep the test's output clean."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/cam"

    def disappear(self) -> None:
        self.gone.set()
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> NetworkCamera:
        return self

    def __exit__(self, *_: object) -> None:
        self.disappear()
