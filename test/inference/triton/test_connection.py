# SPDX-License-Identifier: Apache-2.0
"""Addresses of inference servers, and connections that fail."""

import socket
import time

import pytest

from mask_detector_ros.errors import BackendError, ParameterError, ServerError
from mask_detector_ros.inference import ServerOptions

pytest.importorskip("tritonclient.grpc", reason="the triton extra is not installed")

from mask_detector_ros.inference import connect
from mask_detector_ros.inference.triton.connection import Address


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("robot-hub", ("robot-hub", 8001, False)),
        ("10.0.0.7:9001", ("10.0.0.7", 9001, False)),
        ("grpc://robot-hub.local:8001", ("robot-hub.local", 8001, False)),
        ("grpcs://robot-hub/", ("robot-hub", 8001, True)),
        ("grpc://[::1]:8001", ("[::1]", 8001, False)),
    ],
)
def test_an_address_has_a_host_and_may_have_a_port_and_tls(url, address):
    read = Address.parse(url)
    assert (read.host, read.port, read.tls) == address


@pytest.mark.parametrize(
    "url", ["", "http://hub:8000", "hub:", "hub:0", "hub:65536", "hub:x", "a b", "hub/v2", "::1"]
)
def test_what_is_no_address_is_rejected_with_the_form_to_give(url):
    with pytest.raises(ParameterError, match=r"must be HOST, grpc://HOST:PORT, or grpcs://"):
        Address.parse(url)


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [
        *(("127.0.0.1", True), ("127.8.8.8", True), ("[::1]", True), ("localhost", True)),
        *(("10.0.0.7", False), ("[fe80::1]", False), ("robot-hub", False)),
    ],
)
def test_the_address_tells_whether_the_server_is_on_this_machine(host, is_loopback):
    assert Address(host, 8001, False).is_loopback is is_loopback


def options(port, **more):
    return ServerOptions(f"127.0.0.1:{port}", "mask_detector", 0.3, **more)


def test_where_nobody_listens_the_error_comes_at_once():
    # The port is taken, so that nothing else can listen there.
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        reason = rf"no inference server answers at 127.0.0.1:{port} \("
        with pytest.raises(ServerError, match=reason):
            connect(options(port))


def test_what_accepts_and_never_answers_is_given_up_after_the_deadline():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        start = time.monotonic()
        with pytest.raises(ServerError, match="did not answer in 1 s"):
            connect(options(listener.getsockname()[1]))
        assert time.monotonic() - start < 10


@pytest.mark.parametrize("name", ["ca", "certificate", "token_file"])
def test_a_file_that_cannot_be_read_is_named(name, tmp_path):
    files = dict.fromkeys(("certificate", "key", name), str(tmp_path / "missing"))
    with pytest.raises(BackendError, match=r"cannot read server_\w+ .*missing"):
        connect(ServerOptions("grpcs://127.0.0.1", "mask_detector", 0.3, **files))


@pytest.mark.parametrize("content", [b"", b"short", b"two words of some length", b"\xff" * 20])
def test_a_file_without_a_token_is_named(content, tmp_path):
    file = tmp_path / "token"
    file.write_bytes(content)
    with pytest.raises(BackendError, match=r"token holds no token: server_token_file takes"):
        connect(options(8001, token_file=str(file)))


@pytest.mark.parametrize("given", ["ca", "certificate", "key"])
def test_files_for_tls_need_an_address_with_tls(given, tmp_path):
    with pytest.raises(ParameterError, match=r"are for TLS; give server_url as grpcs://127"):
        connect(options(8001, **{given: "file.pem"}))


@pytest.mark.parametrize("given", ["certificate", "key"])
def test_certificate_and_key_belong_together(given):
    with pytest.raises(ParameterError, match="belong together; give both"):
        connect(ServerOptions("grpcs://127.0.0.1", "mask_detector", 0.3, **{given: "file.pem"}))
