# SPDX-License-Identifier: Apache-2.0
"""An RTSP server on loopback, by GStreamer: `python3 rtsp_server.py PORT [USER PASSWORD]`.

Runs under the system's Python, which has GStreamer's bindings (`SYSTEM_PACKAGES`). Serves H.264, or
VP8 where there is no x264, at `/live`. The brightness of a frame tells when it was made: see
`level_at`. The tests stop the process to freeze the camera, and kill it to lose it.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from typing import Any

SYSTEM_PACKAGES = (
    "python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-base gstreamer1.0-plugins-good"
)
SYSTEM_PYTHON = "/usr/bin/python3"
WIDTH, HEIGHT, RATE = 64, 48, 25


def level_at(moment: float) -> int:
    """The brightness of a frame made at a time: ten steps a second, 20 to 219, in 20 seconds."""
    return 20 + int(10 * moment) % 200


def age_of(image: Any, now: float) -> float:
    """Seconds since the frame was made, -1 to 19."""
    # Video has luma from 16 to 235.
    level = 16 + float(image.mean()) * 219 / 255
    return ((level_at(now) - level) % 200 + 10) % 200 / 10 - 1


@cache
def missing_server() -> str:
    """Why no server can be started; empty if one can."""
    code = (
        "import gi; gi.require_version('GstRtspServer', '1.0');"
        " from gi.repository import Gst; Gst.init(None);"
        " assert any(map(Gst.ElementFactory.find, ('x264enc', 'vp8enc')))"
    )
    try:
        done = subprocess.run([SYSTEM_PYTHON, "-c", code], capture_output=True, check=False)
    except OSError:
        return f"needs {SYSTEM_PYTHON}"
    return f"needs a server: apt install {SYSTEM_PACKAGES}" if done.returncode else ""


class RtspServer:
    """The server as a process."""

    def __init__(self, *login: str, port: int = 0) -> None:
        self._process = subprocess.Popen(
            [SYSTEM_PYTHON, str(Path(__file__).absolute()), str(port), *login],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def url(self, path: str = "/live", login: str = "") -> str:
        return f"rtsp://{login}{'@' if login else ''}127.0.0.1:{self.port}{path}"

    def freeze(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> RtspServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def serve(port: int, user: str = "", password: str = "") -> None:
    """Serve until killed; the port goes to stdout."""
    import gi

    gi.require_version("Gst", "1.0")
    gi.require_version("GstRtspServer", "1.0")
    from gi.repository import GLib, Gst, GstRtspServer

    Gst.init(None)
    encoder = "x264enc tune=zerolatency key-int-max=25 ! rtph264pay name=pay0 config-interval=1"
    if Gst.ElementFactory.find("x264enc") is None:
        encoder = "vp8enc deadline=1 keyframe-max-dist=25 ! rtpvp8pay name=pay0"
    caps = f"video/x-raw,format=I420,width={WIDTH},height={HEIGHT},framerate={RATE}/1"
    source = f"appsrc name=camera is-live=true do-timestamp=true format=time caps={caps}"

    def feed(factory: Any, media: Any) -> None:
        camera = media.get_element().get_child_by_name("camera")
        ended: list[Any] = []
        media.connect("unprepared", ended.append)

        def push() -> bool:
            luma = bytes([level_at(time.time())]) * (WIDTH * HEIGHT)
            data = luma + bytes([128]) * (WIDTH * HEIGHT // 2)
            # On a busy machine the first frames may find the pipeline not yet started.
            camera.emit("push-buffer", Gst.Buffer.new_wrapped(data))
            return not ended

        GLib.timeout_add(1000 // RATE, push)

    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(str(port))
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(f"( {source} ! {encoder} pt=96 )")
    factory.set_shared(True)
    factory.connect("media-configure", feed)
    if user:
        login = GstRtspServer.RTSPAuth()
        token = GstRtspServer.RTSPToken()
        token.set_string(GstRtspServer.RTSP_TOKEN_MEDIA_FACTORY_ROLE, "user")
        login.set_supported_methods(2)  # GST_RTSP_AUTH_DIGEST
        login.add_digest(user, password, token)
        server.set_auth(login)
        factory.add_role_from_structure(
            Gst.Structure.new_from_string(
                "user,media.factory.access=(boolean)true,media.factory.construct=(boolean)true"
            )
        )
    server.get_mount_points().add_factory("/live", factory)
    server.attach(None)
    print(server.get_bound_port(), flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    serve(int(sys.argv[1]), *sys.argv[2:])
