# SPDX-License-Identifier: Apache-2.0
"""The choice of a bag's topics, and the names of their results."""

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="needs the bag extra: pip install rosbags")

from bag_maker import START, BagMaker

from mask_detector_ros.bags.bag_file import COMPRESSED, IMAGE, Channel, image_kind
from mask_detector_ros.bags.reading import open_bag
from mask_detector_ros.bags.topics import choose_topics, find_depth_topics, name_results
from mask_detector_ros.errors import ParameterError


def channels(*topics):
    return [Channel(t, COMPRESSED if "compressed" in t else IMAGE, "cdr", 1) for t in topics]


@pytest.mark.parametrize(
    ("there", "wanted", "chosen"),
    [
        (["/image_raw"], [], ["/image_raw"]),
        (["/a/i", "/a/i/compressed"], [], ["/a/i"]),
        (["/a/i/compressed"], [], ["/a/i/compressed"]),
        (["/a/i", "/a/i/compressed"], ["/a/i/compressed"], ["/a/i/compressed"]),
        (["/a/l", "/a/r"], [], ["/a/l", "/a/r"]),
        (["/x/image_annotated", "/x/image_private/compressed", "/c"], [], ["/c"]),
        (["/x/image_annotated", "/c"], ["/x/image_annotated"], ["/x/image_annotated"]),
        (["/not_image_annotated"], [], ["/not_image_annotated"]),
    ],
)
def test_raw_images_come_before_compressed_ones_and_our_own_are_left_out(there, wanted, chosen):
    assert choose_topics(channels(*there), wanted) == chosen


def test_without_images_the_bag_is_rejected():
    with pytest.raises(ParameterError, match="the bag has no images"):
        choose_topics([], ())
    with pytest.raises(ParameterError, match="no images on /b; it has /a"):
        choose_topics(channels("/a"), ["/b"])


def test_the_topics_that_are_there_are_named_with_their_types():
    others = {"/video": "foxglove_msgs/msg/CompressedVideo", "/tf": "tf2_msgs/msg/TFMessage"}
    with pytest.raises(ParameterError, match=r"it has /tf \(.*\), /video .*; decode a video"):
        choose_topics([], (), others)
    many = {f"/n{i}": "std_msgs/msg/String" for i in range(9)}
    with pytest.raises(ParameterError, match=r"/n4 \(std_msgs/msg/String\), \.\.\.$"):
        choose_topics([], (), many)


@pytest.mark.parametrize(
    ("topics", "spaces"),
    [
        (["/image_raw"], ["/"]),
        (["/a/image_raw"], ["/a/"]),
        (["/a/i/compressed"], ["/a/"]),
        (["/a/l", "/a/r"], ["/a/l/", "/a/r/"]),
        # The kind of fault 3: names that were unique on one level and collided on the next.
        (
            ["/camera/color", "/camera/color/image_raw", "/camera/infra"],
            ["/camera/color/", "/camera/color/image_raw/", "/camera/infra/"],
        ),
        (["/x", "/x/compressed"], ["/x/", "/x/compressed/"]),
        (["/a/x", "/a/x/compressed", "/a"], ["/a/x/", "/a/x/compressed/", "/"]),
        (["image", "/image"], ["image/", "/image/"]),
    ],
)
def test_results_stand_beside_their_camera_and_never_together(topics, spaces):
    names = name_results(topics)
    assert list(names.values()) == [f"{space}mask_detector" for space in spaces]


def test_no_two_topics_ever_share_their_results():
    parts = ["", "/a", "/a/a", "/compressed", "/a/compressed", "/a/b"]
    topics = sorted({one + other for one in parts for other in parts if one + other})
    names = name_results(topics)
    assert len(set(names.values())) == len(topics)


def test_depth_is_told_by_its_content(tmp_path):
    maker = BagMaker(tmp_path / "in", "mcap")
    colour = np.zeros((8, 8, 3), np.uint8)
    distances = np.zeros((8, 8), np.uint16)
    with maker.writer:
        maker.image("/depth/image_raw", START, distances, encoding="16UC1")
        maker.image("/depth/metres", START, np.zeros((8, 8), np.float32), encoding="32FC1")
        maker.image("/infra", START, distances, encoding="mono16")
        maker.image("/color", START, colour)
        maker.compressed("/x", START, colour, "16UC1; compressedDepth png")
        maker.compressed("/y", START, colour, "16UC1; png compressed ")
        maker.compressed("/z", START, colour, "bgr8; jpeg compressed bgr8")
    with open_bag(maker.path) as bag:
        depth = find_depth_topics(bag, [channel.topic for channel in bag.channels])
    assert depth == {
        "/depth/image_raw": "16UC1",
        "/depth/metres": "32FC1",
        "/x": "16UC1",
        "/y": "16UC1",
    }


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("sensor_msgs/Image", "sensor_msgs/msg/Image"),
        ("sensor_msgs/msg/Image", "sensor_msgs/msg/Image"),
        ("sensor_msgs::msg::dds_::Image_", "sensor_msgs/msg/Image"),
        ("sensor_msgs::msg::dds_::CompressedImage_", "sensor_msgs/msg/CompressedImage"),
        ("sensor_msgs::msg::dds_::CameraInfo_", None),
        ("std_msgs/Image", None),
    ],
)
def test_a_type_may_have_the_name_of_ros_1_ros_2_or_dds(name, kind):
    assert image_kind(name) == kind
