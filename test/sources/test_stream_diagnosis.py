# SPDX-License-Identifier: Apache-2.0
"""The reason why a stream cannot be opened, as an error message."""

import socket
from contextlib import closing

import pytest
from network_camera import NetworkCamera

from mask_detector_ros.errors import SourceError
from mask_detector_ros.sources import open_source, stream_diagnosis


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (401, r"wants user and password \(401\)"),
        (403, r"does not allow it \(403\)"),
        (404, r"has nothing at this path \(404\)"),
        (503, r"answers with the error 503"),
    ],
)
def test_the_answer_of_an_http_server_is_said(status, reason):
    with NetworkCamera(status=status) as camera, pytest.raises(SourceError, match=reason):
        open_source(camera.url)


def test_a_wrong_password_is_told_from_none():
    with NetworkCamera(status=401) as camera, pytest.raises(SourceError, match="another user"):
        open_source(camera.url.replace("://", "://adm:in@"))


@pytest.mark.parametrize("scheme", ["rtsp", "http", "rtmp", "tcp"])
def test_a_port_where_nothing_listens_is_said(scheme):
    # It is taken, so that nothing else can listen there.
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(SourceError, match="nothing listens at this port"):
            open_source(f"{scheme}://127.0.0.1:{port}/live")


def test_a_server_of_another_kind_is_said(monkeypatch):
    with closing(socket.socket()) as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        monkeypatch.setattr(stream_diagnosis, "TIMEOUT", 0.2)
        with pytest.raises(TimeoutError):
            stream_diagnosis._rtsp_status(f"rtsp://127.0.0.1:{mute.getsockname()[1]}/live")
    with NetworkCamera(status=200) as camera, pytest.raises(SourceError, match="not speak RTSP"):
        open_source(camera.url.replace("http", "rtsp"))


def test_an_unknown_host_is_said():
    with pytest.raises(SourceError, match="no machine has this name"):
        open_source("rtsp://no-such-machine.invalid/live")


def test_an_unknown_scheme_is_said():
    with pytest.raises(SourceError, match="there is no scheme 'rstp'"):
        open_source("rstp://127.0.0.1/live")
