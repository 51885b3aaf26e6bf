# SPDX-License-Identifier: Apache-2.0
"""The configuration that Triton gets."""

import dataclasses
import socket
from pathlib import Path

import pytest

from mask_detector_ros.errors import ParameterError
from mask_detector_ros.parameters import LOCAL_PARAMETERS, check_parameters
from mask_detector_ros.serving.configuration import (
    ServingOptions,
    build_command,
    require_free_ports,
)
from mask_detector_ros.serving.model_repository import describe_model, to_text, write_repository
from mask_detector_ros.serving.triton_environment import TritonFiles

LOCAL = ServingOptions(
    model_name="faces",
    address="127.0.0.1",
    http_address="127.0.0.1",
    grpc_port=8001,
    http_port=8000,
    metrics_port=8002,
    instances=3,
    queue_size=6,
    queue_limit=0.1,
)
TRITON = TritonFiles(Path("tritonserver"), Path("l"), Path("b"), Path("s"), Path("p"), "")


def command_of(**changes):
    return build_command(TRITON, Path("folder"), dataclasses.replace(LOCAL, **changes), "shm")


def restrictions(command):
    flag = "--grpc-restricted-protocol="
    return [each.removeprefix(flag) for each in command if each.startswith(flag)]


@pytest.fixture
def parse():
    """A function that reads protobuf's text format as Triton does."""
    api = pytest.importorskip("tritonclient.grpc.model_config_pb2")
    text_format = pytest.importorskip("google.protobuf.text_format")
    return lambda text: text_format.Parse(text, api.ModelConfig())


@pytest.fixture
def config(parse, tmp_path):
    values = check_parameters(LOCAL_PARAMETERS, {"detector_model": 'a "quoted" \\ näme\n'})
    facts = describe_model(values, ["con máscara", 'no "mask"'], ["with_mask", ""], "ab12")
    write_repository(tmp_path, LOCAL, values, facts, Path("/numpy"))
    return parse((tmp_path / "faces" / "config.pbtxt").read_text(encoding="utf-8"))


def test_the_config_is_what_triton_parses(config):
    assert (config.name, config.backend, config.max_batch_size) == ("faces", "python", 0)
    assert [(i.name, list(i.dims), i.optional) for i in config.input] == [
        ("image", [-1, -1, 3], True),
        ("jpeg", [1], True),
    ]
    assert config.instance_group[0].count == 3


def test_the_queue_is_bounded_and_rejects(config):
    policy = config.dynamic_batching.default_queue_policy
    assert policy.max_queue_size == 6
    assert policy.default_timeout_microseconds == 100_000
    assert policy.timeout_action == policy.REJECT


def test_texts_arrive_as_they_are(config):
    values = {key: value.string_value for key, value in config.parameters.items()}
    assert values["labels"] == '["con máscara", "no \\"mask\\""]'
    assert values["roles"] == '["with_mask", ""]'
    assert values["detector_model"] == 'a "quoted" \\ näme\n'


def test_words_of_protobuf_have_no_quotes():
    assert to_text({"a": {"b": [1, 2.5], "c": True}, "d": ["x"]}) == (
        'a {\n  b: 1\n  b: 2.5\n  c: true\n}\nd: "x"\n'
    )


def test_shared_memory_is_open_on_this_machine_only():
    assert "shared-memory" not in restrictions(command_of())[0]
    for other in ({"address": "0.0.0.0"}, {"http_address": "::"}, {"address": "10.0.0.5"}):
        assert "shared-memory" in restrictions(command_of(**other))[0]


def test_what_is_closed_has_a_secret_of_its_own_each_time():
    first, second = (restrictions(command_of())[0].partition("=")[2] for _ in range(2))
    assert first != second
    assert len(first) >= 32


def test_a_token_guards_all_but_health():
    guarded, _, token = restrictions(command_of(token="t" * 16))[1].partition(":")
    assert token == f"mask-detector-token={'t' * 16}"
    assert "inference" in guarded
    assert "health" not in guarded


def test_tls_is_mutual_with_an_authority():
    files = {"certificate": "/c", "key": "/k"}
    assert "--grpc-use-ssl=true" in command_of(**files)
    mutual = command_of(**files, client_authority="/ca")
    assert {"--grpc-use-ssl-mutual=true", "--grpc-root-cert=/ca"} <= set(mutual)
    assert not any("ssl" in each for each in command_of())


def test_a_port_in_use_is_named():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ParameterError, match=f"127.0.0.1:{port} .*--http-port"):
            require_free_ports(dataclasses.replace(LOCAL, http_port=port, grpc_port=0))


def test_an_address_of_another_machine_is_named():
    with pytest.raises(ParameterError, match=r"192.0.2.1:8001 .*choose another address"):
        require_free_ports(dataclasses.replace(LOCAL, address="192.0.2.1"))
