# SPDX-License-Identifier: Apache-2.0
"""Choose the topics of a bag to process, and name their results."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from mask_detector_ros.bags.bag_file import COMPRESSED, IMAGE, Channel
from mask_detector_ros.bags.reading import Bag
from mask_detector_ros.errors import ParameterError
from mask_detector_ros.imaging.encodings import DEPTH_ENCODINGS, depth_of_format

SHOWN_TOPICS = 5
"""Most topics without images that an error names."""

_OWN_RESULTS = tuple(
    f"/{name}{suffix}"
    for name in ("image_annotated", "image_private")
    for suffix in ("", "/compressed")
)


def choose_topics(
    channels: Collection[Channel], wanted: Collection[str], others: Mapping[str, str] = {}
) -> list[str]:
    """Choose the image topics of a bag to process.

    Without `wanted` all image topics are chosen, except our annotated images. If a camera has raw
    and compressed images, the raw ones are chosen.

    Raises:
        ParameterError: the bag has no such topics.
    """
    images = {c.topic for c in channels}
    if missing := set(wanted) - images:
        raise ParameterError(
            f"the bag has no images on {', '.join(sorted(missing))}; it has"
            f" {', '.join(sorted(images)) or 'none at all'}"
        )
    if wanted:
        return sorted(set(wanted))
    raw = {c.topic for c in channels if c.kind == IMAGE}
    twice = {
        c.topic for c in channels if c.kind == COMPRESSED and c.topic.rpartition("/")[0] in raw
    }
    chosen = sorted(t for t in images - (twice - raw) if not t.endswith(_OWN_RESULTS))
    if not chosen:
        raise ParameterError(_no_images(others))
    return chosen


def _no_images(others: Mapping[str, str]) -> str:
    shown = [f"{topic} ({kind})" for topic, kind in sorted(others.items())[:SHOWN_TOPICS]]
    shown += ["..."] if len(others) > SHOWN_TOPICS else []
    advice = ""
    if any(re.search("video|packet|theora", kind, re.IGNORECASE) for kind in others.values()):
        advice = "; decode a video topic first, for example with image_transport's republish"
    return (
        "the bag has no images: no topic of type sensor_msgs/Image or CompressedImage; it has"
        f" {', '.join(shown) or 'no topics'}{advice}"
    )


def find_depth_topics(bag: Bag, topics: Iterable[str]) -> dict[str, str]:
    """Find the topics of a bag whose first image is a depth image, with its encoding."""
    found = {}
    for topic in topics:
        message = bag.first(topic)
        encoding = _depth_encoding(message) if message else ""
        if encoding:
            found[topic] = encoding
    return found


def name_results(topics: Iterable[str]) -> dict[str, str]:
    """The namespace of the results of each topic of a bag; no two topics share one.

    It is that of a node `mask_detector` beside the camera. If several topics would share it, their
    names become part of it.
    """
    names = {}
    for topic in topics:
        base = topic.removesuffix("/compressed")
        # Start from the longest name, which is unique, and shorten it if possible.
        names[topic] = [topic, base, base.rpartition("/")[0]]
    while True:
        uses = Counter(choices[-1] for choices in names.values())
        clashing = [c for c in names.values() if uses[c[-1]] > 1 and len(c) > 1]
        if not clashing:
            return {topic: f"{c[-1]}/mask_detector" for topic, c in names.items()}
        for choices in clashing:
            choices.pop()


def _depth_encoding(message: object) -> str:
    """The encoding of a depth image; "" for other images."""
    encoding = getattr(message, "encoding", None)
    if encoding is None:
        return depth_of_format(str(getattr(message, "format", "")))
    return encoding if encoding in DEPTH_ENCODINGS else ""
