# SPDX-License-Identifier: Apache-2.0
"""Process a bag of images to a bag of detections."""

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="needs the bag extra: pip install rosbags")

from bag_maker import START, BagMaker, make_bag
from rosbags.highlevel import AnyReader

from mask_detector_ros.bags.annotate_bag import process_bag
from mask_detector_ros.bags.reading import open_bag
from mask_detector_ros.bags.topics import choose_topics, name_results
from mask_detector_ros.errors import ParameterError, SourceError
from mask_detector_ros.face_stream import FaceStream

TRACKING = {"tracking": True, "smoothing": 1.0, "search_every": 1}


def process(path, output, detector, **changes):
    options = {"tracking": TRACKING, "privacy": "off", "drawings": True, "advance": lambda _: None}
    with open_bag(path) as bag:
        topics = name_results(choose_topics(bag.channels, ()))
        return process_bag(bag, output, topics, detector, {}, **{**options, **changes})


def read(path):
    """Read (topic, time, bytes) of every message."""
    with AnyReader([path]) as reader:
        return [(c.topic, time, bytes(data)) for c, time, data in reader.messages()]


@pytest.mark.parametrize("kind", ["mcap", "sqlite3", "ros1"])
def test_a_reader_that_is_not_ours_finds_every_image_with_its_stamp(tmp_path, kind, walk, detector):
    mcap = pytest.importorskip("mcap_ros2.reader", reason="needs mcap-ros2-support")
    bag = make_bag(tmp_path / "in", kind, walk)
    totals = process(bag, tmp_path / "out", detector)
    assert (totals.images, totals.faces["without_mask"], totals.rejected) == (6, 5, {})
    assert totals.people == {"with_mask": 0, "without_mask": 1, "mask_worn_incorrectly": 0}
    assert not (tmp_path / "out.partial").exists()

    (file,) = (tmp_path / "out").glob("*.mcap")
    heard = {}
    for view in mcap.read_ros2_messages(str(file)):
        heard.setdefault(view.channel.topic, []).append(view)
    annotations = heard.pop("/front/mask_detector/annotations")
    assert sorted(heard) == [
        "/front/mask_detector/detections",
        "/front/mask_detector/faces",
        "/front/mask_detector/image_annotated/compressed",
        "/front/mask_detector/summary",
    ]
    stamps = [START + i * 100_000_000 for i in range(6)]
    for views in heard.values():
        headers = [view.ros_msg.header for view in views]
        assert [h.stamp.sec * 10**9 + h.stamp.nanosec for h in headers] == stamps
        assert {h.frame_id for h in headers} == {"camera"}
        assert [view.log_time_ns for view in views] == [s + 5_000_000 for s in stamps]
    counts = [len(view.ros_msg.detections) for view in heard["/front/mask_detector/detections"]]
    assert counts == [1, 1, 1, 0, 1, 1]
    ids = {d.id for v in heard["/front/mask_detector/detections"] for d in v.ros_msg.detections}
    assert ids == {"1"}
    for view, detections in zip(annotations, heard["/front/mask_detector/detections"], strict=True):
        boxes = [p for p in view.ros_msg.points if p.type == 2]
        for box, detection in zip(boxes, detections.ros_msg.detections, strict=True):
            stamp = detection.header.stamp
            assert (box.timestamp.sec, box.timestamp.nanosec) == (stamp.sec, stamp.nanosec)
            corners = np.array([(p.x, p.y) for p in box.points])
            centre = detection.bbox.center.position
            np.testing.assert_allclose(corners.mean(axis=0), (centre.x, centre.y), atol=1e-3)
            size = (detection.bbox.size_x, detection.bbox.size_y)
            np.testing.assert_allclose(np.ptp(corners, axis=0), size, atol=1e-3)


@pytest.mark.parametrize("search_every", [1, 3])
def test_a_run_that_broke_off_goes_on_and_comes_out_the_same(
    tmp_path, walk, detector, search_every
):
    bag = make_bag(tmp_path / "in", "mcap", walk)
    tracking = {**TRACKING, "search_every": search_every}
    process(bag, tmp_path / "whole" / "out", detector, tracking=tracking)

    class BrokeOffError(Exception):
        pass

    def advance(_):
        done.append(1)
        if len(done) == 4:
            raise BrokeOffError

    done = []
    with pytest.raises(BrokeOffError):
        process(bag, tmp_path / "out", detector, tracking=tracking, advance=advance)
    assert not (tmp_path / "out").exists()

    calls = []

    class Counting:
        label_names = detector.label_names

        def __call__(self, image, near=None):
            calls.append(near)
            return detector(image, near)

        def stream(self, **options):
            return FaceStream(self, **options)

    process(bag, tmp_path / "out", Counting(), tracking=tracking)
    assert len(calls) == 2, "four images were known"
    assert read(tmp_path / "out") == read(tmp_path / "whole" / "out")


def test_images_that_cannot_be_used_are_counted_and_left_out(tmp_path, walk, detector):
    maker = BagMaker(tmp_path / "in", "mcap")
    with maker.writer:
        maker.image("/image_raw", START, walk[0])
        maker.image("/image_raw", START + 10**8, walk[0], encoding="nv99")
        maker.write(
            "/image_raw/compressed",
            "sensor_msgs/msg/CompressedImage",
            START,
            format="jpeg",
            data=np.zeros(9, np.uint8),
        )
    totals = process(maker.path, tmp_path / "out", detector, drawings=False)
    ((reason, count),) = totals.rejected.items()
    assert "nv99" in reason
    assert (totals.images, count) == (2, 1)
    topics = [topic for topic, _, _ in read(tmp_path / "out")]
    assert sorted(topics) == [
        f"/mask_detector/{n}" for n in ("annotations", "detections", "faces", "summary")
    ]


def test_damaged_messages_are_left_out_and_said(tmp_path, walk, detector):
    maker = BagMaker(tmp_path / "in", "mcap")
    with maker.writer:
        maker.image("/image_raw", START, walk[0])
        for i in (1, 2):
            maker.write_bytes("/image_raw", "sensor_msgs/msg/Image", START + i * 10**8, b"\0\1\0\0")
        maker.image("/image_raw", START + 3 * 10**8, walk[0])
    totals = process(maker.path, tmp_path / "out", detector)
    assert (totals.images, totals.rejected) == (4, {"the message is damaged": 2})
    (line,) = totals.damage
    assert line.startswith("2 damaged messages on /image_raw, the first at 1700000000.228 s (")
    detections = [t for t, _, _ in read(tmp_path / "out") if t == "/mask_detector/detections"]
    assert len(detections) == 2


def test_where_no_image_is_usable_there_is_no_bag(tmp_path, walk, detector):
    maker = BagMaker(tmp_path / "in", "mcap")
    with maker.writer:
        for i in range(3):
            maker.image("/image_raw", START + i, walk[0], encoding="nv99")
    with pytest.raises(
        SourceError, match=r"none of the bag's 3 images could be used \(3 times.*nv99"
    ):
        process(maker.path, tmp_path / "out", detector)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize("kind", ["mcap", "sqlite3", "ros1"])
def test_compressed_images_are_read_where_there_are_no_raw_ones(tmp_path, kind, walk, detector):
    maker = BagMaker(tmp_path / "in", kind)
    with maker.writer:
        maker.compressed("/cam/image_raw/compressed", START, walk[0])
    process(maker.path, tmp_path / "out", detector)
    with AnyReader([tmp_path / "out"]) as reader:
        (stamp,) = (
            reader.deserialize(data, connection.msgtype).header.stamp
            for connection, _, data in reader.messages()
            if connection.topic == "/cam/mask_detector/detections"
        )
    assert stamp.sec * 10**9 + stamp.nanosec == START


def test_a_bag_that_exists_is_never_written_over(tmp_path, walk, detector):
    bag = make_bag(tmp_path / "in", "mcap", walk[:1])
    before = read(bag)
    with pytest.raises(ParameterError, match="already exists; give another name"):
        process(bag, bag, detector)
    assert read(bag) == before


def test_a_single_mcap_file_serves_too(tmp_path, walk, detector):
    bag = make_bag(tmp_path / "in", "mcap", walk[:1])
    (file,) = bag.glob("*.mcap")
    assert process(file, tmp_path / "out", detector).images == 1
