# SPDX-License-Identifier: Apache-2.0
"""The files for containers and clusters are valid and refer to existing files. They are not run
here."""

import itertools
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mask_detector_ros.cli import build_parser
from mask_detector_ros.cli.serve import ADDRESS_PARAMETERS
from mask_detector_ros.parameters import DETECTOR_PARAMETERS

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
KUBERNETES = "1.31"
"""The oldest version of Kubernetes that still had support when this was written."""

MANIFESTS = [
    pytest.param(document, id=f"{file.stem} {document['kind']}")
    for file in (DEPLOY / "kubernetes.yaml", DEPLOY / "bulk" / "kubernetes_job.yaml")
    for document in yaml.safe_load_all(file.read_text())
]


def containers():
    """Name, command line and mounted files of each container."""
    for parameter in MANIFESTS:
        pod = parameter.values[0]["spec"].get("template", {}).get("spec", {})
        for container in pod.get("containers", ()):
            yield container["name"], container.get("args", []), container
    for name, service in compose()["services"].items():
        yield name, service["command"], service


def compose():
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


@pytest.mark.parametrize("document", MANIFESTS)
def test_a_manifest_fits_the_schema_of_kubernetes(document):
    validate = pytest.importorskip("kubernetes_validate", reason="needs kubernetes-validate")
    validate.validate(document, KUBERNETES, strict=True)


def test_the_schema_knows_wrong_fields():
    validate = pytest.importorskip("kubernetes_validate", reason="needs kubernetes-validate")
    document = {**MANIFESTS[0].values[0], "spek": {}}
    with pytest.raises(validate.ValidationError):
        validate.validate(document, KUBERNETES, strict=True)


def test_the_compose_file_fits_its_schema():
    pytest.importorskip("check_jsonschema", reason="needs check-jsonschema")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema"]
    file = str(DEPLOY / "compose.yaml")
    done = subprocess.run(
        [*command, "vendor.compose-spec", file], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_every_option_of_the_server_exists():
    parser = build_parser("serve")
    lines = [args for name, args, _ in containers() if name == "server"]
    assert len(lines) == 2
    for arguments in lines:
        parser.parse_args(["serve", *arguments])


def test_every_parameter_of_a_robot_exists_and_its_value_is_allowed():
    table = {p.name: p for p in DETECTOR_PARAMETERS}
    lines = [args for name, args, _ in containers() if name in ("robot", "detector")]
    assert len(lines) == 2
    for arguments in lines:
        given = [value for flag, value in itertools.pairwise(arguments) if flag == "-p"]
        assert given
        for name, _, value in (each.partition(":=") for each in given):
            assert table[name].check(value) == value


def test_every_mounted_file_has_a_volume():
    for parameter in MANIFESTS:
        pod = parameter.values[0]["spec"].get("template", {}).get("spec", {})
        volumes = {volume["name"] for volume in pod.get("volumes", ())}
        for container in pod.get("containers", ()):
            mounts = {m["name"]: m["mountPath"] for m in container["volumeMounts"]}
            assert set(mounts) == volumes
            for path in re.findall(r"[=:](/secrets/[^ ]+)", " ".join(container["args"])):
                assert any(path.startswith(f"{mount}/") for mount in mounts.values())


def test_the_ports_of_probes_and_service_are_those_of_the_server():
    documents = {p.values[0]["kind"]: p.values[0] for p in reversed(MANIFESTS)}
    (server,) = documents["Deployment"]["spec"]["template"]["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in server["ports"]}
    defaults = {parameter.name: parameter.default for parameter in ADDRESS_PARAMETERS}
    assert ports == {kind: defaults[f"{kind}_port"] for kind in ("http", "grpc", "metrics")}
    assert documents["Service"]["spec"]["ports"][0]["targetPort"] == "grpc"


def test_the_images_are_stages_of_the_dockerfile():
    stages = set(re.findall(r"^FROM \S+ AS (\w+)$", (DEPLOY / "Dockerfile").read_text(), re.M))
    assert {service["build"]["target"] for service in compose()["services"].values()} <= stages
