# SPDX-License-Identifier: Apache-2.0
"""No password, token or stream key is shown, wherever it stands."""

import string
import subprocess
import sys
import time
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mask_detector_ros.errors import ParameterError, SourceError
from mask_detector_ros.redaction import hide_passwords, without_password

SECRETS = {
    # In a URL: user and password.
    "rtsp://admin:{any}@cam:554/live": "any",
    "rtsp://{word}:x@cam/live": "word",
    "https://{word}@cam/live": "word",
    "location=rtsp://user:{any}@cam/live ! decodebin": "any",
    # In its query and fragment.
    "http://cam/v?password={value}&width=640": "value",
    "http://cam/v?width=640&token={value}": "value",
    "http://cam/v?%74oken={encoded}": "encoded",
    "http://cam/v?x={value}secret": "value",
    "http://cam/v#access_token={value}": "value",
    "srt://cam:9000?passphrase={value}&mode=caller": "value",
    # In its path.
    "rtmp://host/live/{word}": "word",
    "rtmps://host:443/app/instance/{word}?x=1": "word",
    "http://cam/token/{word}/live.m3u8": "word",
    "http://cam/token%2F{word}%2Flive": "word",
    "http://cam/%74oken%252F{word}/live": "word",
    "rtsp://cam/user%3Dadmin%26password%3D{encoded}": "encoded",
    "rtsp://cam/user=admin_password={value}_channel=1.sdp": "value",
    # Elsewhere.
    "rtspsrc location=rtsp://cam/live user-id=a user-pw={bare} ! decodebin ! appsink": "bare",
    'rtspsrc location="rtsp://cam/live" user-pw="{quoted}" ! appsink': "quoted",
    "srtsrc uri=srt://cam:1 passphrase={bare} ! appsink": "bare",
    "{{'user': 'a', 'password': '{quoted}'}}": "quoted",
    "Authorization: Basic {word}": "word",
    "metadata: (('authorization', 'Bearer {word}'),)": "word",
}
"""Texts with a secret, and what characters that may have."""

LETTERS = string.ascii_letters + string.digits
ALPHABETS = {
    "any": LETTERS + "!#$%&()*+,-./:;<=>?@[]^_`{|}~",
    "value": LETTERS + "!$%()*+-.:<>@[]^`{|}~#/?",
    "word": LETTERS + "-_",
    "encoded": string.printable.strip() + " äß",
    "bare": LETTERS + "!#$%&()*+,-./:;<=>?@[]^_`{|}~",
    "quoted": LETTERS + "!#$%&()*+,-./:;<=>?@[]^_`{|}~ ",
}


@pytest.mark.parametrize("template", SECRETS)
@given(data=st.data())
def test_a_secret_is_never_shown(template, data):
    kind = SECRETS[template]
    secret = "Q7" + data.draw(st.text(ALPHABETS[kind], min_size=4, max_size=20)) + "x9"
    text = template.format(**{kind: quote(secret, safe="") if kind == "encoded" else secret})
    for shown in (
        without_password(text),
        hide_passwords(text),
        hide_passwords(f"error: cannot open {text}: refused"),
        str(SourceError(f"lost {text}; check the network")),
    ):
        assert secret not in shown
        assert quote(secret, safe="") not in shown


@pytest.mark.parametrize("secret", ["0://x9", "'0://x 9'", '"a0://x9"'])
def test_a_secret_that_looks_like_a_url_is_hidden(secret):
    text = f"rtspsrc location=rtsp://cam/live user-pw={secret} ! appsink"
    mark = secret[0] if secret[0] in "'\"" else ""
    assert hide_passwords(text) == text.replace(secret, f"{mark}***{mark}")


@given(st.text(max_size=80))
@example("rtsp://u:p@cam/v?password=a: x")
@example("user-pw='a' token=b")
def test_what_is_hidden_stays_as_it_is(text):
    shown = hide_passwords(text)
    assert hide_passwords(shown) == shown


@pytest.mark.parametrize(
    "text",
    [
        "rtsp://cam/h264Preview_01_main",
        "rtsp://cam/Streaming/Channels/101",
        "rtsp://cam:554/axis-media/media.amp?resolution=640x480&fps=15",
        "rtmp://host/live",
        "http://cam:8080/?action=stream",
        "rtsp://cam/2024-01-01-12-00-00.mp4",
        "write rtsp://USER:PASSWORD@ before the host",
        "server_url must be HOST, grpc://HOST:PORT, or grpcs://HOST:PORT for TLS",
        "min_face_size must be an integer from 12 to 2000, got 5",
        "/data/token/20240101/photo@2x.jpg: is damaged; open it in a viewer",
        "'server_token_file:=/etc/token' sets no parameter",
        "the server demands a token, or another one; give it in server_token_file",
    ],
)
def test_what_is_no_secret_is_shown(text):
    assert hide_passwords(text) == text


def test_an_error_of_this_package_shows_no_secret():
    error = ParameterError("server_url must be HOST, got 'grpc://robot:geheim@host:8001'")
    assert str(error) == "server_url must be HOST, got 'grpc://***@host:8001'"


def test_the_process_list_shows_no_secret():
    """Long arguments stay, so that the list is still of use."""
    code = (
        "import sys; from mask_detector_ros.process_title import hide_secrets_in_process_list;"
        " hide_secrets_in_process_list(); print(open('/proc/self/cmdline').read())"
    )
    secret = "rtsp://admin:geheim@cam/live"
    arguments = [secret, "-p", f"source:={secret}", "--json", "kamera ä"]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    shown = [argument.rstrip() for argument in done.stdout.split("\0")]
    hidden = "rtsp://***@cam/live"
    assert shown[-6:-1] == [hidden, "-p", f"source:={hidden}", "--json", "kamera ä"]


def test_advice_before_a_url_stays():
    error = ParameterError(
        "server_url must be HOST, grpc://HOST:PORT, or grpcs://HOST:PORT for TLS, got"
        " 'grpc://robot:geheim@host:8001'"
    )
    assert str(error).endswith("grpcs://HOST:PORT for TLS, got 'grpc://***@host:8001'")


@pytest.mark.parametrize(
    "unit",
    ["a", "a.", "a-", "a:", "a://", "aB3d", "key", "&key", "password='", "a://b:c", "'", "%"],
)
def test_a_long_message_takes_little_time(unit):
    """A peer chooses the name of an encoding, which an error quotes for every frame."""
    times = []
    for length in (2_000, 8_000):
        text = unit * (length // len(unit))
        start = time.process_time()
        hide_passwords(text)
        without_password(f"rtsp://cam/{text}")
        times.append(time.process_time() - start)
    assert times[1] < 10 * times[0] + 0.05, "four times as long, not sixteen times"
    assert len(hide_passwords(10**6 * "a")) < 11_000
