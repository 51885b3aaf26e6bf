# SPDX-License-Identifier: Apache-2.0
"""The views in config/ show only topics of the node and fields of its messages."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]


def topics() -> dict[str, str]:
    """The node's topics and their types."""
    results = pytest.importorskip("mask_detector_ros.ros.result_publishers", reason="needs ROS 2")
    found = {f"/mask_detector/{topic}": kind.__name__ for topic, kind in results.TOPICS.items()}
    return found | {"/diagnostics": "DiagnosticArray"}


def layout() -> dict:
    return json.loads((ROOT / "config" / "foxglove_layout.json").read_text(encoding="utf-8"))


def places(node) -> list[str]:
    return [node] if isinstance(node, str) else places(node["first"]) + places(node["second"])


def test_foxglove_places_every_panel_once() -> None:
    assert sorted(places(layout()["layout"])) == sorted(layout()["configById"])


def test_foxglove_shows_topics_of_the_node() -> None:
    panels = layout()["configById"]
    image = panels["Image!masks"]["imageMode"]
    assert image["imageTopic"] == "/image_raw"
    shown = {
        **dict.fromkeys(image["annotations"], "ImageAnnotations"),
        panels["DiagnosticSummary!health"]["topicToRender"]: "DiagnosticArray",
        panels["RawMessages!alerts"]["topicPath"]: "MaskAlert",
    }
    assert shown.items() <= topics().items()


@pytest.mark.parametrize("panel", ["Plot!counts", "Plot!people"])
def test_foxglove_plots_a_line_for_each_label(panel: str) -> None:
    summary = pytest.importorskip("mask_detector_ros.msg", reason="needs the messages").MaskSummary
    from mask_detector_ros.sources.sample_scene import LABEL_NAMES

    paths = layout()["configById"][panel]["paths"]
    assert [path["label"] for path in paths] == list(LABEL_NAMES)
    for i, path in enumerate(paths):
        topic, field, index = re.fullmatch(r"([/\w]+)\.(\w+)\[(\d)\]", path["value"]).groups()
        assert topics()[topic] == "MaskSummary"
        assert summary.get_fields_and_field_types()[field].startswith("sequence<")
        assert int(index) == i


def test_rviz_shows_the_annotated_image() -> None:
    config = yaml.safe_load((ROOT / "config" / "mask.rviz").read_text(encoding="utf-8"))
    (display,) = config["Visualization Manager"]["Displays"]
    assert display["Class"] == "rviz_default_plugins/Image"
    assert topics()[display["Topic"]["Value"]] == "Image"
