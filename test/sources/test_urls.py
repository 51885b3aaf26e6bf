# SPDX-License-Identifier: Apache-2.0
"""URLs of cameras: passwords stay hidden, and FFmpeg gets URLs that it can read."""

import pytest

from mask_detector_ros.errors import SourceError
from mask_detector_ros.redaction import hide_passwords, without_password
from mask_detector_ros.sources.urls import credentials, file_of_url, is_url, playable


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("rtsp://anna:s@cret@cam:554/a?b=c", "rtsp://***@cam:554/a?b=c"),
        ("rtsp://u:pa#ss@cam/live", "rtsp://***@cam/live"),
        ("rtsp://u:pa/ss@cam:8554/live", "rtsp://***@cam:8554/live"),
        ("rtsp://u:pa?ss@cam", "rtsp://***@cam"),
        ("rtsp://u:12/34@cam/live", "rtsp://***@cam/live"),
        ("rtsp://a b:c d@cam/live", "rtsp://***@cam/live"),
        ("rtsp://u:p@[fe80::1]:554/live", "rtsp://***@[fe80::1]:554/live"),
        ("RTSP://TOKEN@cam", "RTSP://***@cam"),
        ("rtsp://u:p@[::1/live", "rtsp://***@[::1/live"),
        ("rtsp://cam/live?password=se#cr/et&x=1", "rtsp://cam/live?password=***&x=1"),
        ("rtsp://cam/live?x=1&pwd=a&b", "rtsp://cam/live?x=1&pwd=***"),
        (
            "http://cam/v.cgi?loginuse=ad&loginpas=pw#x",
            "http://cam/v.cgi?loginuse=***&loginpas=***",
        ),
        ("http://cam/v?X-Amz-Signature=ab%2F&n=1", "http://cam/v?X-Amz-Signature=***&n=1"),
        ("http://cam/v?access_token=ab;n=1", "http://cam/v?access_token=***;n=1"),
        (
            "rtsp://cam/user=ad_password=a_b_channel=1.sdp",
            "rtsp://cam/user=***_password=***_channel=1.sdp",
        ),
        ("rtsp://cam/a", "rtsp://cam/a"),
        (
            "rtsp://cam/realmonitor?channel=1&subtype=0",
            "rtsp://cam/realmonitor?channel=1&subtype=0",
        ),
        ("http://cam/photo@2x.jpg", "http://cam/photo@2x.jpg"),
        ("http://cam/v?p%61ssword=secret&width=1280", "http://cam/v?p%61ssword=***&width=1280"),
        ("http://cam/v?sas=secret&hash=0123abcd&on=1", "http://cam/v?sas=***&hash=***&on=1"),
        ("srt://cam:9000?streamid=secret&mode=caller", "srt://cam:9000?streamid=***&mode=caller"),
        ("http://cam/?url=http%3A%2F%2Fu%3Ap%40h", "http://cam/?url=***"),
        ("http://cam/token/secret/live.m3u8", "http://cam/token/***/live.m3u8"),
        ("http:/u:secret@cam/live", "http:/***@cam/live"),
        ("u:secret@cam:554/live", "***@cam:554/live"),
        ("'rtsp://u:secret@cam/live'", "'rtsp://***@cam/live'"),
        ("file:///home/u/a?password=b", "file:///home/u/a?password=b"),
        ("photos/a@b.jpg", "photos/a@b.jpg"),
    ],
)
def test_passwords_are_not_shown(name, shown):
    assert without_password(name) == shown
    assert hide_passwords(f"error: {name}" if " " not in name else "") in (f"error: {shown}", "")


@pytest.mark.parametrize(
    ("url", "given"),
    [
        ("rtsp://u:pa#s?s/@cam/live", "rtsp://u:pa%23s%3Fs%2F@cam/live"),
        ("rtsp://u:p%23@cam/live", "rtsp://u:p%23@cam/live"),
        ("rtsp://u:a@b@cam:554", "rtsp://u:a%40b@cam:554"),
        ("rtsp://cam:554/a@b?c#d", "rtsp://cam:554/a@b?c#d"),
        ("http://[::1]:80/v?password=a#b", "http://[::1]:80/v?password=a#b"),
    ],
)
def test_ffmpeg_gets_a_url_that_it_can_read(url, given):
    assert playable(url) == given


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("rtsp://[::1/live", "host must be"),
        ("rtsp://", "host must be"),
        ("rtsp://u:p@", "host must be"),
        ("http://cam:port/x", "host must be"),
        ("foo://u:secret@cam/x", "no scheme 'foo'"),
    ],
)
def test_a_url_that_is_none_says_why(url, reason):
    with pytest.raises(SourceError, match=reason) as caught:
        playable(url)
    assert "secret" not in str(caught.value)


def test_what_is_hidden_stays_as_it_is():
    message = hide_passwords("cannot open http://cam/v?password=a: refused")
    assert message == "cannot open http://cam/v?password=*** refused"
    shown = "cannot open http://***@cam/v?password=***: refused"
    assert hide_passwords(shown) == shown
    assert "secret" not in hide_passwords("http://cam/v?password=***secret")


def test_credentials_are_decoded():
    assert credentials("rtsp://a%40b:c%23d@cam/x") == ("a@b", "c#d")
    assert credentials("rtsp://a:c#d@cam/x") == ("a", "c#d")
    assert credentials("rtsp://cam/x") is None


@pytest.mark.parametrize("name", ["a.mp4", "a:b.mp4", "/a//b", "rtsp:x", "://x", "1://x"])
def test_a_file_name_is_no_url(name):
    assert not is_url(name)
    assert file_of_url(name) is None
    assert without_password(name) == name


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("file:///a%20b/%C3%BC.mp4", "/a b/ü.mp4"),
        ("FILE://localhost/a#b?c", "/a#b?c"),
    ],
)
def test_a_file_url_names_a_path(url, path):
    assert str(file_of_url(url)) == path
