# SPDX-License-Identifier: Apache-2.0
"""Read the small bags of the tests, whole or damaged."""

import numpy as np
import pytest
import yaml

from mask_detector_ros.bags.bag_file import DamageError
from mask_detector_ros.bags.reading import open_bag
from mask_detector_ros.errors import SourceError

IMAGES = [np.full((40, 40, 3), i, np.uint8) for i in range(20)]
KINDS = [
    ("mcap", ""),
    ("mcap", "storage"),
    ("mcap", "message"),
    ("mcap", "file"),
    ("sqlite3", ""),
    ("sqlite3", "message"),
    ("sqlite3", "file"),
    ("ros1", ""),
]
every_kind = pytest.mark.parametrize(("kind", "compression"), KINDS)


def read(path):
    """The first pixel of every readable image, the number of others, and the damage."""
    with open_bag(path) as bag:
        topics = {channel.topic for channel in bag.channels}
        if not topics:
            raise SourceError("no images")
        pixels, others = [], 0
        for raw in bag.messages(topics):
            try:
                pixels.append(int(bag.read(raw).data[0]))
            except DamageError:
                others += 1
        return pixels, others, bag.damage.lines


def storage_file(bag):
    if bag.is_file():
        return bag
    (file,) = (f for f in bag.iterdir() if f.name != "metadata.yaml")
    return file


def change_metadata(bag, **changes):
    path = bag / "metadata.yaml"
    content = yaml.safe_load(path.read_text())
    content["rosbag2_bagfile_information"] |= changes
    path.write_text(yaml.safe_dump(content))
