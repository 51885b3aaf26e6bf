# SPDX-License-Identifier: Apache-2.0
"""RTSP streams, from a real server on loopback."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

import pytest
from command_line import wait
from rtsp_server import RtspServer, age_of, missing_server
from waiting import LIMIT, wait_until

from benchmark.inference_server import free_ports
from mask_detector_ros.errors import SourceError
from mask_detector_ros.sources import captures, live, open_source, stream_diagnosis
from mask_detector_ros.sources.live import LiveSource

pytestmark = pytest.mark.skipif(bool(missing_server()), reason=missing_server() or "there is one")

USER, PASSWORD = "adm in", "pa#s/s?w@rd"


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for the server of a busy machine longer than for a camera."""
    monkeypatch.setattr(captures, "STREAM_TIMEOUT_MS", 15_000)
    monkeypatch.setattr(live, "SILENCE_TIMEOUT", LIMIT)
    monkeypatch.setattr(stream_diagnosis, "TIMEOUT", LIMIT)


@pytest.fixture
def server() -> Iterator[RtspServer]:
    # A port that stays free while the server is down.
    with RtspServer(port=free_ports(1)[0]) as server:
        yield server


@pytest.fixture(scope="module")
def guarded() -> Iterator[RtspServer]:
    """A server that demands user and password, with all characters that are special in URLs."""
    with RtspServer(USER, PASSWORD) as server:
        yield server


@contextmanager
def playing(server: RtspServer, login: str = "", **options: Any) -> Iterator[LiveSource]:
    """An open source with its first frame waiting.

    On a busy machine GStreamer's server can stop sending as a stream begins: it is opened again.
    """

    def first_frame() -> LiveSource | None:
        try:
            source = open_source(server.url(login=login), **options)
        except SourceError:
            return None
        assert isinstance(source, LiveSource)
        wait_until(lambda: source._waiting or source._ended)
        if source._waiting:
            return source
        source.close()
        return None

    with wait_until(first_frame, what="the first frame") as source:
        yield source


@pytest.mark.usefixtures("patient")
def test_frames_come_with_the_times_of_the_stream(server):
    with playing(server) as source:
        frames = [source.read() for _ in range(30)]
    assert source.live
    assert frames[0].image.shape == (48, 64, 3)
    times = [frame.time for frame in frames]
    assert times == sorted(times)
    assert times[0] == 0
    assert times[-1] >= 29 * 0.9 / 25


@pytest.mark.usefixtures("patient")
def test_a_slow_reader_gets_the_newest_frame(server):
    """The next frame in order would be 40 ms later than the last."""
    with playing(server) as source:
        before, dropped = source.read(), source.dropped
        wait_until(lambda: source.dropped > dropped + 50, what="frames that nobody read")
        assert source.read().time - before.time > 1


@pytest.mark.usefixtures("patient")
def test_every_frame_is_there_on_request(server):
    with playing(server, every_frame=True) as source:
        wait_until(lambda: len(source._waiting) >= 25, what="a second of frames")
        times = [source.read().time for _ in range(30)]
    assert source.dropped == 0
    gaps = [b - a for a, b in itertools.pairwise(times)]
    # Most of them: a busy machine makes some frames late.
    assert median(gaps) < 0.2, "frames lie as far apart as the camera made them"


def test_a_frozen_camera_is_noticed_after_five_seconds(server, patient, monkeypatch):
    with playing(server) as source:
        # From here on: a busy machine may take longer than that to start.
        monkeypatch.undo()
        source.read()
        server.freeze()
        frozen = time.time()
        ages: list[float] = []
        with pytest.raises(SourceError, match="which sent nothing for 5 s"):
            ages.extend(age_of(frame.image, time.time()) for frame in source)
        assert time.time() - frozen < live.SILENCE_TIMEOUT + 10
        assert max(ages, default=0) < live.SILENCE_TIMEOUT - 1, "no old frame passes for a new one"


@pytest.mark.usefixtures("patient")
def test_a_killed_server_is_lost_at_once(server):
    with playing(server) as source:
        source.read()
        server.kill()
        with pytest.raises(SourceError, match="lost the stream"):
            list(source)


def test_a_server_that_is_killed_and_comes_back_is_found_again(server, tmp_path):
    command = [sys.executable, "-m", "mask_detector_ros", "video", server.url(), "--reconnect"]
    process = subprocess.Popen(
        [*command, "--json", "-o", str(tmp_path / "x.mp4")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline()
    server.kill()
    assert "lost the stream" in process.stderr.readline()
    with RtspServer(port=server.port):
        lines = 0
        while lines < 20:
            assert process.stdout.readline()
            lines += 1
        process.send_signal(signal.SIGTERM)
        wait(process)
        err = process.stderr.read()
    assert process.returncode == 0, err
    assert "interrupted after" in err
    assert (tmp_path / "x.mp4").stat().st_size > 0


@pytest.mark.usefixtures("patient")
def test_every_letter_may_be_in_a_password(guarded):
    with playing(guarded, f"{USER}:{PASSWORD}") as source:
        assert source.read().image.shape == (48, 64, 3)


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize(
    ("path", "login", "reason"),
    [
        ("/live", "", r"wants user and password \(401\); write rtsp://USER:PASSWORD@"),
        ("/live", f"{USER}:secret", r"wants another user or password \(401\)"),
        ("/none", f"{USER}:{PASSWORD}", r"has nothing at this path \(404\)"),
    ],
)
def test_what_the_server_refuses_is_said(guarded, path, login, reason):
    with pytest.raises(SourceError, match=reason) as caught:
        open_source(guarded.url(path, login))
    assert "secret" not in str(caught.value)
    assert PASSWORD not in str(caught.value)
