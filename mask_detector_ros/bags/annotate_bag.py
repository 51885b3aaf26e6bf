# SPDX-License-Identifier: Apache-2.0
"""Process a bag: from the images of its topics to a bag of detections."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from rosbags.rosbag2 import StoragePlugin, Writer

from mask_detector_ros.annotation_messages import ANNOTATIONS
from mask_detector_ros.bags.bag_file import Damage, DamageError, RawMessage
from mask_detector_ros.bags.journal import Journal
from mask_detector_ros.bags.message_writer import DRAWING, MessageWriter, message_types
from mask_detector_ros.bags.reading import Bag
from mask_detector_ros.detector import MaskDetector
from mask_detector_ros.errors import ImageError, ParameterError, SourceError
from mask_detector_ros.face_stream import FaceStream
from mask_detector_ros.faces import Faces
from mask_detector_ros.imaging.annotate import annotate
from mask_detector_ros.imaging.encodings import decode_message
from mask_detector_ros.result_messages import DETECTIONS, FACES, SUMMARY

BAG_VERSION: Literal[8] = 8
"""Version of the bag's metadata: the newest that ROS 2 Humble plays."""


@dataclass
class Totals:
    """The totals of a run over a bag.

    Attributes:
        images: number processed, including unusable ones.
        rejected: number of unusable images by reason.
        damage: one sentence per damaged part of the bag.
        faces: number of faces by label.
        people: unique people by label, over all topics.
    """

    images: int
    rejected: dict[str, int]
    damage: list[str]
    faces: dict[str, int]
    people: dict[str, int]


def process_bag(
    bag: Bag,
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
    """Write the bag `output` with the faces in a bag's image topics.

    An unfinished bag lies in `output.partial`, with a journal from which a later call resumes.
    Unusable images and damaged messages are skipped and counted.

    Args:
        topics: the topics to process, with the namespaces of their results (`name_results`).
        identity: everything the detections depend on; a resuming call must have the same.
        tracking: the parameters of `MaskDetector.stream`.
        advance: called with the number of processed images.

    Raises:
        ParameterError: `output` exists, or is the unfinished result of other options.
        SourceError: something cannot be written, or no image of the bag can be used.
    """
    if os.path.lexists(output):
        raise ParameterError(f"{output} already exists; give another name with -o")
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
                for raw in bag.messages(topics):
                    run.process(bag, raw)
                    advance(1)
        finally:
            journal.close()
        totals = run.totals(bag.damage)
        if totals.images == sum(totals.rejected.values()):
            shutil.rmtree(workplace)
            raise SourceError(_nothing_usable(totals))
        (workplace / output.name).rename(output)
        shutil.rmtree(workplace)
    except OSError as error:
        raise SourceError(
            f"cannot write {error.filename or output} ({error.strerror}); fix that, then run the "
            "same command again to resume"
        ) from error
    return totals


def _nothing_usable(totals: Totals) -> str:
    reasons = [f"{count} times {reason}" for reason, count in totals.rejected.items()]
    reasons += totals.damage
    return (
        f"none of the bag's {totals.images} images could be used"
        f" ({'; '.join(reasons) or 'its image topics are empty'}); give another bag or other topics"
    )


class _Run:
    """Process the images of all topics in order."""

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
        kinds = {
            "detections": DETECTIONS,
            "faces": FACES,
            "summary": SUMMARY,
            "annotations": ANNOTATIONS,
        }
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
        self._rejected: dict[str, int] = {}
        self._damaged: dict[str, list[str]] = {}
        self._faces = dict.fromkeys(detector.label_names, 0)

    def process(self, bag: Bag, raw: RawMessage) -> None:
        """Process an image of the bag, or reuse its faces from the journal."""
        self._images += 1
        topic = raw.topic
        try:
            message = bag.read(raw)
            header = self._messages.header(message.header)
        except DamageError as error:
            self._damaged.setdefault(topic, []).append(f"at {raw.time / 1e9:.3f} s ({error})")
            return self._reject("the message is damaged")
        stamp = message.header.stamp.sec + message.header.stamp.nanosec / 1e9
        stream = self._streams[topic]
        seen = self._journal.next_result()
        image = None
        if seen is None:
            image, seen = self._detect(message, stream, stamp)
            self._journal.append(seen)
        if isinstance(seen, str):
            return self._reject(seen)
        faces = stream.track(seen, stamp)
        for label in faces.labels:
            self._faces[label] += 1
        image = decode_message(message) if image is None else image
        size = (image.shape[1], image.shape[0])
        results = self._messages.results
        written = {
            "detections": results.detections(faces, header),
            "faces": results.faces(faces, header),
            "summary": results.summary(faces, stream.count_people(), header),
            "annotations": self._messages.annotations.annotations(faces, header, size),
        }
        if self._drawings:
            drawing = annotate(image, faces, self._privacy, stream.unseen_boxes())
            written["image_annotated/compressed"] = self._messages.drawing(drawing, header)
        for name, made in written.items():
            data = self._messages.serialise(made)
            self._writer.write(self._outputs[topic][name], raw.time, data)

    def _reject(self, reason: str) -> None:
        self._rejected[reason] = self._rejected.get(reason, 0) + 1

    def _detect(
        self, message: Any, stream: FaceStream, stamp: float
    ) -> tuple[NDArray[np.uint8] | None, Faces | str]:
        try:
            image = decode_message(message)
            return image, stream.detect(image, stamp)
        except ImageError as error:
            return None, str(error)

    def totals(self, damage: Damage) -> Totals:
        """The totals of the run over the bag so far."""
        people = dict.fromkeys(self._label_names, 0)
        for stream in self._streams.values():
            for label, count in stream.count_people().items():
                people[label] += count
        damaged = [
            f"{len(places)} damaged messages on {topic}, the first {places[0]}"
            for topic, places in self._damaged.items()
        ]
        lines = [*damage.lines, *damaged]
        return Totals(self._images, self._rejected, lines, self._faces, people)
