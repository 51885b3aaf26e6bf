# SPDX-License-Identifier: Apache-2.0
"""A server for other machines: TLS, a token, and no access to this machine's memory."""

import subprocess
from pathlib import Path

import pytest
from protocol_client import Client

TOKEN = "robots-of-the-north-wing"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A self-signed certificate for localhost, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject]
    try:
        subprocess.run(
            [*command, "-keyout", "key.pem", "-out", "cert.pem"],
            cwd=folder,
            check=True,
            capture_output=True,
        )
    except FileNotFoundError:
        pytest.skip("needs openssl")
    return folder / "cert.pem", folder / "key.pem"


@pytest.fixture(scope="module")
def robot_certificate(tmp_path_factory):
    """A certificate of a robot and its key; it is its own authority."""
    folder = tmp_path_factory.mktemp("robot")
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=robot"
    command += " -keyout key.pem -out cert.pem"
    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    return folder / "cert.pem", folder / "key.pem"


@pytest.fixture(scope="module")
def secured(start_server, certificate, tmp_path_factory):
    token = tmp_path_factory.mktemp("token") / "token"
    token.write_text(f"{TOKEN}\n")
    options = ["--instances", "1", "--queue-limit", "60", "--token-file", str(token)]
    options += ["--tls-cert", str(certificate[0]), "--tls-key", str(certificate[1])]
    with start_server(*options, host="0.0.0.0") as running:
        yield running


@pytest.fixture(scope="module")
def connect(secured, certificate):
    """A function that connects with TLS and a token."""
    address = secured.address.replace("0.0.0.0", "localhost")

    def connect(token=TOKEN):
        return Client(address, token, ssl=True, root_certificates=str(certificate[0]))

    return connect


def message_of(call, *arguments):
    from tritonclient.utils import InferenceServerException

    with pytest.raises(InferenceServerException) as caught:
        call(*arguments)
    return str(caught.value)


def test_the_token_opens_it(connect, astronaut):
    client = connect()
    assert len(client.send(astronaut)["boxes"]) == 1
    assert client.facts()["labels"]


@pytest.mark.parametrize("token", ["", "robots-of-the-south-wing"])
def test_without_the_token_only_health_answers(connect, astronaut, token):
    client = connect(token)
    assert client.api.is_server_ready()
    assert "restricted" in message_of(client.send, astronaut)
    assert "restricted" in message_of(client.facts)
    assert "restricted" in message_of(client.api.get_model_repository_index)


def test_without_tls_nobody_gets_in(secured):
    client = Client(secured.address.replace("0.0.0.0", "127.0.0.1"), TOKEN)
    assert "UNAVAILABLE" in message_of(client.facts)


def test_shared_memory_is_closed_to_other_machines(connect):
    api = connect().api
    headers = connect().headers
    assert "restricted" in message_of(
        lambda: api.register_system_shared_memory("r", "/x", 8, headers=headers)
    )


def test_the_token_is_in_no_output_of_the_server(secured):
    assert TOKEN not in secured.log


def test_http_stays_on_this_machine(secured):
    listening = Path("/proc/net/tcp").read_text()
    assert f"0100007F:{secured.http_port:04X} 00000000:0000 0A" in listening
    assert f"00000000:{secured.http_port:04X} 00000000:0000 0A" not in listening


def test_mutual_tls_serves_only_clients_with_a_certificate(
    start_server, certificate, robot_certificate, astronaut
):
    options = ["--tls-cert", str(certificate[0]), "--tls-key", str(certificate[1])]
    options += ["--instances", "1", "--queue-limit", "60"]
    options += ["--tls-client-ca", str(robot_certificate[0])]
    known = {
        "certificate_chain": str(robot_certificate[0]),
        "private_key": str(robot_certificate[1]),
    }
    with start_server(*options) as server:
        address = server.address.replace("127.0.0.1", "localhost")
        trusted = {"ssl": True, "root_certificates": str(certificate[0])}
        assert len(Client(address, **trusted, **known).send(astronaut)["boxes"]) == 1
        assert "UNAVAILABLE" in message_of(Client(address, **trusted).send, astronaut)
