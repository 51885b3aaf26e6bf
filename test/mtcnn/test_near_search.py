# SPDX-License-Identifier: Apache-2.0
"""Faces near known boxes: the search that tracking uses."""

import numpy as np
from astronaut_heads import SETTINGS, head, overlap
from hypothesis import given, settings
from hypothesis import strategies as st

from mask_detector_ros.imaging.boxes import intersection_over_union


@settings(max_examples=25, deadline=None)
@given(
    shift=st.tuples(st.floats(-0.4, 0.4), st.floats(-0.4, 0.4)),
    growth=st.floats(0.85, 1.2),
)
def test_a_face_is_found_near_where_it_was(cascade, astronaut, shift, growth):
    face = cascade(astronaut, SETTINGS).boxes[0]
    centre, sides = (face[:2] + face[2:]) / 2, face[2:] - face[:2]
    half = growth * sides / 2
    centre = centre + np.float32(shift) * sides
    # A box far from all faces finds none, and does not disturb.
    near = np.float32([[*(centre - half), *(centre + half)], [400, 400, 440, 450]])
    found = cascade(astronaut, SETTINGS, near)
    assert len(found) == 1
    assert overlap(found, [face])[0] > 0.8


def test_near_nothing_nothing_is_found(cascade, astronaut):
    elsewhere = ([[-900, -900, -800, -800]], [[350, 300, 420, 380]])
    for near in ([], [[5, 5, 5, 5]], [[np.nan, 0, 9, 9]], *elsewhere):
        assert len(cascade(astronaut, SETTINGS, np.float32(near).reshape(-1, 4))) == 0


def test_many_faces_are_found_near_where_they_were(cascade, astronaut):
    crowd = np.tile(head(astronaut), (3, 4, 1))
    everybody = cascade(crowd, SETTINGS)
    again = cascade(crowd, SETTINGS, everybody.boxes)
    assert len(again) == len(everybody) >= 12
    best = intersection_over_union(everybody.boxes, again.boxes).max(axis=1)
    assert (best > 0.8).all()
