# SPDX-License-Identifier: Apache-2.0
"""A headless Chromium, and pages on loopback that report what they show."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import queue
import shutil
import signal
import socket
import subprocess
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
TIMEOUT = 90.0
"""Seconds that a page may take on a busy machine."""

FLAGS = (
    *(
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--mute-audio",
        "--no-first-run",
    ),
    *("--autoplay-policy=no-user-gesture-required", "--enable-unsafe-swiftshader"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)

PLAYER = """<!doctype html><video id=v muted playsinline></video><script>
let waits;
const next = async () => {
  v.src = await (await fetch("/next")).text();
  waits = true;
  v.play().catch(fail);
};
const send = async (what) => {
  if (!waits) return;
  waits = false;
  await fetch("/result", {method: "POST", body: JSON.stringify(what)});
  next();
};
const fail = () => send({error: `${v.error && v.error.message}`});
v.onerror = fail;
v.onended = () => {
  const canvas = document.createElement("canvas");
  canvas.width = v.videoWidth; canvas.height = v.videoHeight;
  canvas.getContext("2d").drawImage(v, 0, 0);
  send({duration: v.duration, width: v.videoWidth, height: v.videoHeight,
        frames: v.getVideoPlaybackQuality().totalVideoFrames,
        sound: v.webkitAudioDecodedByteCount, image: canvas.toDataURL("image/png")});
};
next();
</script>"""


def find_browser() -> str | None:
    """The browser's executable; None if there is none."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class VideoPlayer:
    """A page in one browser that plays videos to their ends, one after the other."""

    def __init__(self, profile: Path) -> None:
        self._videos: list[Path] = []
        self._next: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._make_handler())
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self._browser = open_page(f"http://127.0.0.1:{self._server.server_port}/", profile)

    def play(self, video: Path) -> dict[str, Any]:
        """Play a video to its end; return the browser's report."""
        self._videos.append(video)
        self._next.put(f"/{len(self._videos) - 1}")
        try:
            return self._answers.get(timeout=TIMEOUT)
        except queue.Empty:
            raise AssertionError("the browser said nothing") from None

    def close(self) -> None:
        end(self._browser)
        # Releases the request that waits for a video.
        self._next.put("")
        self._server.shutdown()
        self._server.server_close()

    def _make_handler(self) -> type[BaseHTTPRequestHandler]:
        player = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/":
                    self._answer("text/html", PLAYER.encode())
                elif self.path == "/next":
                    self._answer("text/plain", player._next.get().encode())
                elif self.path[1:].isdigit():
                    video = player._videos[int(self.path[1:])]
                    self._answer(f"video/{video.suffix[1:]}", video.read_bytes())
                else:
                    self.send_error(404)

            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"]))
                self._answer("text/plain", b"")
                player._answers.put(json.loads(content))

            def _answer(self, kind: str, body: bytes) -> None:
                with contextlib.suppress(ConnectionError):  # the browser was ended
                    self.send_response(200)
                    self.send_header("Content-Type", kind)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Keep the test's output clean."""

        return Handler


def open_page(url: str, profile: Path, *flags: str) -> subprocess.Popen[bytes]:
    """Open a page in the browser until the browser is ended."""
    program = find_browser()
    assert program is not None
    return subprocess.Popen(
        [program, *FLAGS, f"--user-data-dir={profile}", *flags, url],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def end(browser: subprocess.Popen[bytes]) -> None:
    """End the browser with all its processes."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(browser.pid, signal.SIGKILL)
    browser.wait()


class Page:
    """A page in the browser, of which screenshots can be taken (DevTools protocol)."""

    def __init__(self, url: str, profile: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        flags = (f"--remote-debugging-port={self._port}", "--remote-allow-origins=*")
        self._browser = open_page(url, profile, *flags, "--use-angle=swiftshader")
        self._url = url

    def screenshot(self) -> bytes:
        """The page's current content as PNG; empty if it is not there yet."""
        try:
            pages = urllib.request.urlopen(f"http://127.0.0.1:{self._port}/json", timeout=5)
            debugger = next(
                p["webSocketDebuggerUrl"] for p in json.load(pages) if p["url"].startswith("http")
            )
        except (OSError, StopIteration):
            return b""
        with socket.create_connection(("127.0.0.1", self._port), TIMEOUT) as connection:
            path = "/" + debugger.split("/", 3)[3]
            connection.sendall(
                f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\nUpgrade: websocket\r\n"
                "Connection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
                "Sec-WebSocket-Version: 13\r\n\r\n".encode()
            )
            answer = connection.makefile("rb")
            while answer.readline() != b"\r\n":
                pass
            request = b'{"id": 1, "method": "Page.captureScreenshot"}'
            # A frame of text, masked with zeros as clients must.
            connection.sendall(bytes([0x81, 0x80 | len(request)]) + bytes(4) + request)
            while True:
                length = answer.read(2)[1]
                if length > 125:
                    length = int.from_bytes(answer.read(2 if length == 126 else 8), "big")
                message = json.loads(answer.read(length))
                if message.get("id") == 1:
                    return base64.b64decode(message["result"]["data"])

    def close(self) -> None:
        end(self._browser)
