# SPDX-License-Identifier: Apache-2.0
"""Messages that we build where ROS lacks them are upstream's, as far as DDS can tell."""

import json
from pathlib import Path
from typing import Any

import pytest

ament_packages = pytest.importorskip("ament_index_python.packages")
vision_msgs = pytest.importorskip("vision_msgs.msg")

UPSTREAM_HASHES = {
    "vision_msgs/msg/Detection2DArray": (
        "RIHS01_214274120007f4a683866481336b70310268cfa107aebe9d594a6acf75bda968"
    ),
    "vision_msgs/msg/Detection3DArray": (
        "RIHS01_793f5eab9595ac1c0da07873cc859db42eae51f0ee76056db8562515d830e018"
    ),
    "foxglove_msgs/msg/ImageAnnotations": (
        "RIHS01_47c6c0891ba263ec1b20d9b785c4261d4bc41051cbcc01668130e36aa2dcaee3"
    ),
}
"""Type hashes of vision_msgs 4.1.1 and foxglove_msgs 3.1.0, from their own unchanged files."""


def type_description(package: str, name: str) -> dict[str, Any]:
    share = Path(ament_packages.get_package_share_directory(package))
    file = share / "msg" / f"{name}.json"
    if not file.exists():
        pytest.skip(f"this ROS installs no type descriptions (no {file.name})")
    description: dict[str, Any] = json.loads(file.read_text())
    return description


@pytest.mark.parametrize("kind", UPSTREAM_HASHES)
def test_a_message_has_the_type_hash_of_upstream(kind: str) -> None:
    package, _, name = kind.split("/")
    hashes = {
        entry["type_name"]: entry["hash_string"]
        for entry in type_description(package, name)["type_hashes"]
    }
    assert hashes[kind] == UPSTREAM_HASHES[kind]


def test_label_info_maps_numbers_to_names() -> None:
    label = vision_msgs.VisionClass(class_id=1, class_name="with_mask")
    info = vision_msgs.LabelInfo(class_map=[label], threshold=0.5)
    assert [entry.class_name for entry in info.class_map] == ["with_mask"]


def test_our_messages_are_found_beside_the_source_tree() -> None:
    messages = pytest.importorskip("mask_detector_ros.msg")
    assert len(messages.Face().landmarks) == 5
