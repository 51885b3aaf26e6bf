# SPDX-License-Identifier: Apache-2.0
"""The messages in a bag equal those that the node publishes."""

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="needs the bag extra: pip install rosbags")

from mask_detector_ros.bags.message_writer import MessageWriter, message_types
from mask_detector_ros.faces import NO_LABEL, Faces
from mask_detector_ros.result_messages import DETECTIONS

LABELS = ("with_mask", "without_mask", "mask_worn_incorrectly")
PEOPLE = {"with_mask": 2, "without_mask": 1, "mask_worn_incorrectly": 0}


def two_faces(**changes):
    values = {
        "boxes": [[10, 20, 50, 80], [100.5, -7, 130.5, 47]],
        "scores": [0.99, 0.75],
        "landmarks": np.arange(20).reshape(2, 5, 2) / 3,
        "probabilities": [[0.125, 0.75, 0.125], [0.5, 0.125, 0.375]],
        "label_names": LABELS,
    }
    return Faces(**{**values, **changes})


CASES = {
    "plain": two_faces(),
    "tracked": two_faces(track_ids=[7, 12], track_ages=[0.0, 2.25], label_ids=[1, 2]),
    "unlabelled": two_faces(label_ids=[NO_LABEL, 0]),
    "nobody": Faces.empty(LABELS),
}


def test_the_type_of_the_detections_is_upstreams():
    assert message_types().hash_rihs01(DETECTIONS) == (
        "RIHS01_214274120007f4a683866481336b70310268cfa107aebe9d594a6acf75bda968"
    )


@pytest.mark.parametrize("faces", CASES.values(), ids=CASES.keys())
def test_ros_reads_what_its_own_messages_hold(faces):
    serialization = pytest.importorskip("rclpy.serialization", reason="needs ROS 2")
    from foxglove_msgs.msg import ImageAnnotations
    from mask_detector_ros.msg import FaceArray, MaskSummary
    from sensor_msgs.msg import CompressedImage
    from std_msgs.msg import Header
    from vision_msgs.msg import Detection2DArray

    from mask_detector_ros.ros.conversions import image_to_compressed
    from mask_detector_ros.ros.messages import ANNOTATIONS, RESULTS

    header = Header(frame_id="camera")
    header.stamp.sec, header.stamp.nanosec = 12, 345678901
    image = np.arange(300, dtype=np.uint8).reshape(10, 10, 3)
    messages = MessageWriter()
    ours, make = messages.header(header), messages.results
    for message, expected in (
        (make.detections(faces, ours), RESULTS.detections(faces, header)),
        (make.faces(faces, ours), RESULTS.faces(faces, header)),
        (make.summary(faces, PEOPLE, ours), RESULTS.summary(faces, PEOPLE, header, {})),
        (
            messages.annotations.annotations(faces, ours, (640, 480)),
            ANNOTATIONS.annotations(faces, header, (640, 480)),
        ),
        (messages.drawing(image, ours), image_to_compressed(image, header)),
    ):
        data = messages.serialise(message)
        kind = type(expected)
        assert kind in (Detection2DArray, FaceArray, MaskSummary, CompressedImage, ImageAnnotations)
        assert serialization.deserialize_message(bytes(data), kind) == expected
