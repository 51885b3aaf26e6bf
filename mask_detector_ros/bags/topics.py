"""Which topics of a bag are processed, and where their results go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable

from mask_detector_ros.bags.reading import Bag
from mask_detector_ros.bags.storage import COMPRESSED, IMAGE, Channel
from mask_detector_ros.errors import ParameterError

DEPTH_ENCODINGS = ("16UC1", "16SC1", "32SC1", "32FC1", "64FC1")
"""Of images that hold distances, not light."""

_OWN_RESULTS = tuple(
    f"/{name}{suffix}"
    for name in ("image_annotated", "image_private")
    for suffix in ("", "/compressed")
)


def choose_topics(channels: Collection[Channel], wanted: Collection[str]) -> list[str]:
    """The topics to process.

    Without `wanted` all images are taken, except our own drawings; where a camera's images are
    there raw and compressed, the raw ones.

    Raises:
        ParameterError: there are no such topics.
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
        raise ParameterError("the bag has no images: no topic of sensor_msgs/Image or of its like")
    return chosen


def find_depth_topics(bag: Bag, topics: Iterable[str]) -> dict[str, str]:
    """Those whose first image holds distances, with its encoding."""
    found = {}
    for topic in topics:
        message = bag.first(topic)
        encoding = _depth_encoding(message) if message else ""
        if encoding:
            found[topic] = encoding
    return found


def name_results(topics: Iterable[str]) -> dict[str, str]:
    """The namespace that the results of each topic stand in; no two topics share one.

    It is that of a node `mask_detector` beside the camera. Where several topics would have the
    same, their own names are part of it.
    """
    names = {}
    for topic in topics:
        base = topic.removesuffix("/compressed")
        # The longest, which is unique, is the first to be left for a shorter one.
        names[topic] = [topic, base, base.rpartition("/")[0]]
    while True:
        uses = Counter(choices[-1] for choices in names.values())
        clashing = [c for c in names.values() if uses[c[-1]] > 1 and len(c) > 1]
        if not clashing:
            return {topic: f"{c[-1]}/mask_detector" for topic, c in names.items()}
        for choices in clashing:
            choices.pop()


def _depth_encoding(message: object) -> str:
    """The encoding of an image of distances; "" for another."""
    encoding = getattr(message, "encoding", None)
    if encoding is None:
        # As image_transport writes it: "16UC1; compressedDepth png".
        form = str(getattr(message, "format", ""))
        encoding = form.partition(";")[0].strip()
        if "compressedDepth" in form:
            return encoding or "compressedDepth"
    return encoding if encoding in DEPTH_ENCODINGS else ""
