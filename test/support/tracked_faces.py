# SPDX-License-Identifier: Apache-2.0
"""Square faces at given positions, for trackers."""

import numpy as np

from mask_detector_ros.faces import Faces

LABELS = ("with_mask", "without_mask", "mask_worn_incorrectly")
MASKED, BARE = (0.9, 0.05, 0.05), (0.05, 0.9, 0.05)


def faces(*places, size=40.0, probabilities=MASKED, names=LABELS):
    """Square faces around the positions; `probabilities` for all or one row each."""
    centres = np.array(places, np.float32).reshape(-1, 2)
    n = len(centres)
    return Faces(
        np.hstack([centres - size / 2, centres + size / 2]),
        np.ones(n),
        np.zeros((n, 5, 2)),
        np.broadcast_to(np.array(probabilities, np.float32), (n, len(names))) if n else None,
        names,
    )


def both(first, second):
    """The faces of both."""
    names = ("boxes", "scores", "landmarks", "probabilities")
    joined = (np.concatenate([getattr(f, name) for f in (first, second)]) for name in names)
    return Faces(*joined, first.label_names)


def ids(tracked):
    return tracked.track_ids.tolist()
