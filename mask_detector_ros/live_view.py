# SPDX-License-Identifier: Apache-2.0
"""Live view of a run: image, boxes and counts over time in Rerun's web viewer."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import cv2
import numpy as np
from numpy.typing import NDArray

from mask_detector_ros.errors import BackendError, SourceError
from mask_detector_ros.faces import Faces
from mask_detector_ros.imaging.annotate import LABEL_COLORS, OTHER_COLOR, face_tags
from mask_detector_ros.imaging.scaling import reduce_image
from mask_detector_ros.output_file import OutputFile

APPLICATION = "mask_detector"
LOOPBACK = "127.0.0.1"
JPEG_QUALITY = 85
IMAGE_PERIOD = 0.1
"""Minimum seconds between two images: a browser draws no more. Counts cover every frame."""

MAX_MEGAPIXELS = 1.0
"""Size that an image in the view is reduced to."""

START_TIMEOUT = 30.0
FLUSH_TIMEOUT = 10.0
"""Seconds for the last data; Rerun's default waits forever if its writing thread has ended."""

MEMORY_LIMIT = "500MB"
"""History that the viewer's server keeps for browsers that connect late."""


class LiveView:
    """Shows frames live in a web page on this machine, in a file, or both.

    Args:
        label_names: the detector's labels; the view plots a count over time for each.
        file: an .rrd file that Rerun opens later (`rerun FILE`).

    Attributes:
        url: the page; empty without `serve`. Only this machine can open it.

    Raises:
        BackendError: rerun-sdk is not installed, or its server does not start.
        SourceError: the file cannot be written.
    """

    def __init__(
        self, label_names: tuple[str, ...], serve: bool = True, file: Path | None = None
    ) -> None:
        # Its own lines on stderr say no more than our errors. It reads the level when imported.
        os.environ.setdefault("RUST_LOG", "off")
        try:
            import rerun
            import rerun.blueprint as views
        except ImportError as error:
            raise BackendError(
                "the live view needs the package rerun-sdk; run: pip install rerun-sdk"
            ) from error
        self.url = ""
        self._rerun: Any = rerun
        self._next_image = 0.0
        self._server: subprocess.Popen[bytes] | None = None
        self._file = None if file is None else OutputFile(file)
        self._stream: Any = rerun.RecordingStream(APPLICATION)
        sinks: list[Any] = []
        if serve:
            sinks.append(rerun.GrpcSink(self._start_server()))
        if self._file is not None:
            sinks.append(rerun.FileSink(str(self._file.partial)))
        self._stream.set_sinks(
            *sinks,
            default_blueprint=views.Blueprint(
                views.Horizontal(
                    views.Spatial2DView(origin="camera", name="camera"),
                    views.TimeSeriesView(origin="counts", name="faces in a frame"),
                    column_shares=[2, 1],
                ),
                collapse_panels=True,
            ),
        )
        for name in label_names:
            color = LABEL_COLORS.get(name, OTHER_COLOR)[::-1]
            lines = rerun.SeriesLines(colors=[color], names=[name.replace("_", " ")])
            self._stream.log(f"counts/{name}", lines, static=True)

    def show(self, image: NDArray[np.uint8], faces: Faces, seconds: float) -> None:
        """Show a (H, W, 3) BGR frame and its faces in the live view, at a time of the source."""
        self._stream.set_time("time", duration=seconds)
        for name, count in faces.count_labels().items():
            self._stream.log(f"counts/{name}", self._rerun.Scalars(count))
        if time.monotonic() >= self._next_image:
            self._next_image = time.monotonic() + IMAGE_PERIOD
            self._show_image(image, faces)

    def _show_image(self, image: NDArray[np.uint8], faces: Faces) -> None:
        rerun, stream = self._rerun, self._stream
        small = reduce_image(image, MAX_MEGAPIXELS)
        data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
        stream.log("camera", rerun.EncodedImage(contents=data.tobytes(), media_type="image/jpeg"))
        boxes = rerun.Boxes2D(
            array=faces.boxes * (small.shape[1] / image.shape[1]),
            array_format=rerun.Box2DFormat.XYXY,
            colors=[LABEL_COLORS.get(role, OTHER_COLOR)[::-1] for role in faces.roles],
            labels=face_tags(faces),
        )
        stream.log("camera/faces", boxes)

    def close(self) -> None:
        """Finish the live view's file and stop its web server."""
        try:
            with self._file or contextlib.nullcontext():
                self._stream.flush(timeout_sec=FLUSH_TIMEOUT)
                self._stream.disconnect()
                if self._file is not None:
                    self._file.commit()
        except RuntimeError as error:  # Rerun's thread that writes has ended
            self._abandon_stream()
            if self._file is None:
                return  # the page's server was killed
            raise SourceError(
                f"cannot write {self._file.path} ({error}); is the disk full?"
            ) from error
        finally:
            if self._server is not None:
                self._end_server()

    def _abandon_stream(self) -> None:
        """Never free the stream: without its writing thread, Rerun can wait forever for it."""
        atexit.unregister(self._rerun.rerun_shutdown)
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._stream))

    def _start_server(self) -> str:
        """Serve the page on loopback only; Rerun's function would open it to the network."""
        program = shutil.which("rerun", path=str(Path(sys.executable).parent)) or "rerun"
        port, page = _free_ports(2)
        command = [program, "--serve-web", "--bind", LOOPBACK, "--port", str(port)]
        command += ["--web-viewer-port", str(page), "--server-memory-limit", MEMORY_LIMIT]
        try:
            self._server = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            raise BackendError(f"cannot start {program} ({error.strerror})") from error
        end = time.monotonic() + START_TIMEOUT
        while not (_listens(port) and _listens(page)):
            if self._server.poll() is not None or time.monotonic() > end:
                self._end_server()
                raise BackendError("the live view's server did not start; run: rerun --serve-web")
            time.sleep(0.05)
        address = f"rerun+http://{LOOPBACK}:{port}/proxy"
        self.url = f"http://{LOOPBACK}:{page}/?url={quote(address, safe='')}"
        return address

    def _end_server(self) -> None:
        """End the server and its child: `rerun` is a script that starts the program."""
        assert self._server is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._server.pid, signal.SIGTERM)
        self._server.wait()

    def __enter__(self) -> LiveView:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for free in sockets:
            free.bind((LOOPBACK, 0))
        return [free.getsockname()[1] for free in sockets]
    finally:
        for free in sockets:
            free.close()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((LOOPBACK, port)) == 0
