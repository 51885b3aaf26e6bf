"""Through a bag: from the images of its topics to a bag of what is seen in them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from rosbags.highlevel import AnyReader, AnyReaderError
from rosbags.interfaces import Connection
from rosbags.rosbag2 import StoragePlugin, Writer

from mask_detector_ros.bags.journal import Journal
from mask_detector_ros.bags.messages import DRAWING, MessageWriter, message_types
from mask_detector_ros.detector import FaceStream, MaskDetector
from mask_detector_ros.errors import ImageError, ParameterError, SourceError
from mask_detector_ros.faces import Faces
from mask_detector_ros.imaging.annotate import annotate
from mask_detector_ros.imaging.encodings import decode_compressed, decode_image
from mask_detector_ros.result_messages import DETECTIONS, FACES, SUMMARY

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
BAG_VERSION: Literal[8] = 8
"""Of the bag's metadata: the newest that ROS 2 Humble plays."""


@dataclass
class Totals:
    """What came out.

    Attributes:
        images: processed, those that could not be used included.
        refused: reasons and their number, of the images that could not be used.
        faces: seen, by label.
        people: unique ones, by label, over all topics.
    """

    images: int
    refused: dict[str, int]
    faces: dict[str, int]
    people: dict[str, int]


@contextmanager
def open_bag(path: Path) -> Iterator[AnyReader]:
    """A bag of ROS 2 (folder, .db3 or .mcap) or of ROS 1 (.bag).

    Raises:
        SourceError: it does not exist or cannot be read.
    """
    if not path.exists():
        raise SourceError(f"{path} does not exist; give a bag: a folder, or an .mcap or .bag file")
    try:
        reader = AnyReader([path], default_typestore=message_types())
        reader.open()
    # What the reader's parsers meet in a file that is no bag, or half of one.
    except (AnyReaderError, OSError, ValueError, LookupError, AssertionError) as error:
        raise SourceError(
            f"{path} is not a bag that can be read ({error}); one whose recording broke off can"
            " be repaired with `ros2 bag reindex` or `mcap recover`"
        ) from error
    try:
        yield reader
    finally:
        reader.close()


def choose_topics(connections: Collection[Connection], wanted: Collection[str]) -> dict[str, str]:
    """Which topics to process, and where their results go.

    Without `wanted` all images are taken; of one that is there raw and compressed, the raw.

    Returns:
        Of each image topic the namespace that its results stand in, as those of a node
        `mask_detector` beside the camera.

    Raises:
        ParameterError: there are no such topics.
    """
    images = {c.topic for c in connections if c.msgtype in (IMAGE, COMPRESSED)}
    # Depth packed into a CompressedImage is no picture, and our own drawings are no input.
    images = {
        t for t in images if not t.endswith("/compressedDepth") and "image_annotated" not in t
    }
    if missing := set(wanted) - images:
        raise ParameterError(
            f"the bag has no images on {', '.join(sorted(missing))}; it has"
            f" {', '.join(sorted(images)) or 'none at all'}"
        )
    raw = {t for t in images if f"{t}/compressed" in images}
    chosen = sorted(wanted or images - {f"{t}/compressed" for t in raw})
    if not chosen:
        raise ParameterError("the bag has no images: no topic of sensor_msgs/Image or of its like")
    bases = {topic: topic.removesuffix("/compressed") for topic in chosen}
    parents = {topic: base.rpartition("/")[0] for topic, base in bases.items()}
    spaces = list(parents.values())
    return {
        topic: (parent if spaces.count(parent) == 1 else bases[topic]) + "/mask_detector"
        for topic, parent in parents.items()
    }


def process_bag(
    reader: AnyReader,
    output: Path,
    topics: dict[str, str],
    detector: MaskDetector,
    identity: dict[str, Any],
    *,
    tracking: dict[str, Any],
    privacy: str,
    drawings: bool,
    advance: Callable[[int], object],
) -> Totals:
    """Write the bag `output` of what is seen on the topics of a bag.

    While it is unfinished it lies in `output.partial`, with a journal from which a later call
    goes on.

    Args:
        topics: from `choose_topics`.
        identity: what the detections depend on, to be the same when a later call goes on.
        tracking: the parameters of `MaskDetector.stream`.
        advance: called with the number of images done.

    Raises:
        ParameterError: `output` exists, or is the unfinished result of other options.
        SourceError: something cannot be written.
    """
    if output.exists():
        raise ParameterError(f"{output} exists already; give another name with -o")
    workplace = output.with_name(f"{output.name}.partial")
    try:
        workplace.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(workplace / output.name, ignore_errors=True)
        journal = Journal(workplace / "journal.jsonl", identity)
        try:
            with Writer(
                workplace / output.name, version=BAG_VERSION, storage_plugin=StoragePlugin.MCAP
            ) as writer:
                run = _Run(writer, topics, detector, journal, tracking, privacy, drawings)
                for connection, timestamp, data in reader.messages(
                    [c for c in reader.connections if c.topic in topics]
                ):
                    message = reader.deserialize(data, connection.msgtype)
                    run.process(connection.topic, timestamp, message)
                    advance(1)
        finally:
            journal.close()
        (workplace / output.name).rename(output)
        shutil.rmtree(workplace)
    except OSError as error:
        raise SourceError(
            f"cannot write {error.filename or output} ({error.strerror}); when that is mended,"
            " the same command goes on where it stopped"
        ) from error
    return run.totals()


class _Run:
    """The images of all topics, one after the other."""

    def __init__(
        self,
        writer: Writer,
        topics: dict[str, str],
        detector: MaskDetector,
        journal: Journal,
        tracking: dict[str, Any],
        privacy: str,
        drawings: bool,
    ) -> None:
        self._writer, self._journal, self._label_names = writer, journal, detector.label_names
        self._privacy, self._drawings = privacy, drawings
        self._messages = MessageWriter()
        self._streams = {topic: detector.stream(**tracking) for topic in topics}
        kinds = {"detections": DETECTIONS, "faces": FACES, "summary": SUMMARY}
        if drawings:
            kinds["image_annotated/compressed"] = DRAWING
        self._outputs = {
            topic: {
                name: writer.add_connection(f"{space}/{name}", kind, typestore=message_types())
                for name, kind in kinds.items()
            }
            for topic, space in topics.items()
        }
        self._images = 0
        self._refused: dict[str, int] = {}
        self._faces = dict.fromkeys(detector.label_names, 0)

    def process(self, topic: str, timestamp: int, message: Any) -> None:
        """One image; what it shows is recalled where it is known."""
        self._images += 1
        stamp = message.header.stamp.sec + message.header.stamp.nanosec / 1e9
        stream = self._streams[topic]
        seen = self._journal.recall()
        image = None
        if seen is None:
            image, seen = self._look(message, stream, stamp)
            self._journal.note(seen)
        if isinstance(seen, str):
            self._refused[seen] = self._refused.get(seen, 0) + 1
            return
        faces = stream.follow(seen, stamp)
        for label in faces.labels:
            self._faces[label] += 1
        header = self._messages.header(message.header)
        written = {
            "detections": self._messages.detections(faces, header),
            "faces": self._messages.faces(faces, header),
            "summary": self._messages.summary(faces, stream.count_people(), header),
        }
        if self._drawings:
            image = read_image(message) if image is None else image
            drawing = annotate(image, faces, self._privacy, stream.missed_boxes())
            written["image_annotated/compressed"] = self._messages.drawing(drawing, header)
        for name, data in written.items():
            self._writer.write(self._outputs[topic][name], timestamp, data)

    def _look(
        self, message: Any, stream: FaceStream, stamp: float
    ) -> tuple[NDArray[np.uint8] | None, Faces | str]:
        try:
            image = read_image(message)
            return image, stream.see(image, stamp)
        except ImageError as error:
            return None, str(error)

    def totals(self) -> Totals:
        """What came out so far."""
        people = dict.fromkeys(self._label_names, 0)
        for stream in self._streams.values():
            for label, count in stream.count_people().items():
                people[label] += count
        return Totals(self._images, self._refused, self._faces, people)


def read_image(message: Any) -> NDArray[np.uint8]:
    """The picture of an Image or CompressedImage of a bag.

    Raises:
        ImageError: it cannot be read.
    """
    if hasattr(message, "encoding"):
        return decode_image(message)
    return decode_compressed(message.data, message.format)
