# SPDX-License-Identifier: Apache-2.0
"""The SROS2 policy allows what the nodes do, and nothing else."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: run `make setup`")

from ros_graph import Graph, wait_until

POLICY = Path(__file__).parents[2] / "config" / "security" / "mask_detector.policy.xml"
OPTIONAL = {"/clock", "/parameter_events"}
"""Subscribed to with use_sim_time, and by some versions of ROS."""


def allowed(node: str) -> dict[tuple[str, str], set[str]]:
    """Absolute names by kind and permission, of a node in the root namespace."""
    policy = ElementTree.parse(POLICY).getroot()
    profile = policy.find(f".//profile[@node='{node}']")
    assert profile is not None
    found: dict[tuple[str, str], set[str]] = {}
    for group in profile:
        for permission, value in group.attrib.items():
            assert value == "ALLOW"
            names = found.setdefault((group.tag, permission), set())
            for entry in group:
                name = (entry.text or "").replace("~", f"/{node}")
                names.add(name if name.startswith("/") else f"/{name}")
    return found


def test_the_policy_has_the_form_that_sros2_reads() -> None:
    policy = ElementTree.parse(POLICY).getroot()
    assert (policy.tag, policy.get("version")) == ("policy", "0.2.0")
    for enclave in policy.findall("enclaves/enclave"):
        assert enclave.get("path", "").startswith("/")
        for profile in enclave.findall("profiles/profile"):
            assert profile.get("ns")
            assert profile.get("node")
            kinds = {"topics": {"publish", "subscribe"}, "services": {"reply", "request"}}
            for group in profile:
                assert set(group.attrib) <= kinds[group.tag]
                assert {entry.tag for entry in group} == {group.tag.removesuffix("s")}


@pytest.mark.parametrize(
    ("module", "parameters"),
    [("mask_detector_node", {"threads": 1}), ("image_source_node", {"source": "sample"})],
)
def test_the_policy_allows_what_a_node_does(
    graph: Graph, module: str, parameters: dict[str, Any]
) -> None:
    name = module.removesuffix("_node")
    policy = allowed(name)
    graph.start(module, **parameters)
    client = graph.client().node
    asked = {
        ("topics", "publish"): client.get_publisher_names_and_types_by_node,
        ("topics", "subscribe"): client.get_subscriber_names_and_types_by_node,
        ("services", "reply"): client.get_service_names_and_types_by_node,
    }
    wait_until(lambda: (name, "/") in client.get_node_names_and_namespaces(), what=name)
    topic = "/mask_detector/detections" if name == "mask_detector" else "/image_raw"
    wait_until(lambda: client.count_publishers(topic), what="the node's topics")
    if name == "mask_detector":
        wait_until(lambda: client.count_subscribers("/image_raw"), what="its subscription")
    for key, ask in asked.items():
        done = {topic for topic, _ in ask(name, "/")}
        assert done - OPTIONAL <= policy.get(key, set()), key


def test_a_node_that_must_be_secured_runs_secured_or_not_at_all(graph: Graph) -> None:
    """The Python wheels' Fast DDS lacks DDS security; other builds lack the enclave's files."""
    keys = graph.folder / "keys"
    (keys / "enclaves" / "mask_detector").mkdir(parents=True)
    graph.environment |= {
        "ROS_SECURITY_KEYSTORE": str(keys),
        "ROS_SECURITY_ENABLE": "true",
        "ROS_SECURITY_STRATEGY": "Enforce",
    }
    process = graph.start("mask_detector_node", "--enclave", "/mask_detector", threads=1)
    assert process.wait(60) == 1
    told = graph.output(process)
    assert "error: ROS could not start: " in told
    assert "Traceback" not in told
    assert "subscribed to" not in told
