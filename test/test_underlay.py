"""The vision_msgs we build where no ROS has one must be upstream's, as far as the wire can tell."""

import json
from pathlib import Path
from typing import Any

import pytest

ament_packages = pytest.importorskip("ament_index_python.packages")
vision_msgs = pytest.importorskip("vision_msgs.msg")

UPSTREAM_HASH = "RIHS01_214274120007f4a683866481336b70310268cfa107aebe9d594a6acf75bda968"
"""Of vision_msgs/msg/Detection2DArray in vision_msgs 4.1.1, from its own unchanged files."""


def type_description(name: str) -> dict[str, Any]:
    share = Path(ament_packages.get_package_share_directory("vision_msgs"))
    file = share / "msg" / f"{name}.json"
    if not file.exists():
        pytest.skip(f"this ROS installs no type descriptions (no {file.name})")
    description: dict[str, Any] = json.loads(file.read_text())
    return description


def test_detection_2d_array_has_the_type_hash_of_upstream() -> None:
    hashes = {
        entry["type_name"]: entry["hash_string"]
        for entry in type_description("Detection2DArray")["type_hashes"]
    }
    assert hashes["vision_msgs/msg/Detection2DArray"] == UPSTREAM_HASH


def test_label_info_maps_numbers_to_names() -> None:
    label = vision_msgs.VisionClass(class_id=1, class_name="with_mask")
    info = vision_msgs.LabelInfo(class_map=[label], threshold=0.5)
    assert [entry.class_name for entry in info.class_map] == ["with_mask"]


def test_our_messages_are_found_beside_the_source_tree() -> None:
    messages = pytest.importorskip("mask_detector_ros.msg")
    assert len(messages.Face().landmarks) == 5
