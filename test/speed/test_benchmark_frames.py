# SPDX-License-Identifier: Apache-2.0
"""Benchmark frames with a given number of faces."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mask_detector_ros.sources.sample_scene import SampleScene
from mask_detector_ros.speed.benchmark_frames import (
    compose,
    digest,
    make_frames,
    place_people_in_frame,
    source_of,
)
from mask_detector_ros.speed.cases import Case

SIZES = st.sampled_from([(320, 240), (640, 480), (1280, 720), (1920, 1080), (480, 640)])


@given(size=SIZES, faces=st.integers(0, 50), spare=st.integers(0, 20))
def test_there_are_as_many_people_as_asked_for_each_whole_in_the_picture(size, faces, spare):
    people = place_people_in_frame(size, faces, max(faces + spare, 1))
    assert len(people) == faces
    for person in people:
        centre = person.pose(0.0, *size) @ (*person.portrait.centre, 1)
        face = person.size.mean * min(size[0] / 640, size[1] / 480)
        assert (centre > face / 2).all()
        assert (centre < np.array(size) - face / 2).all()


@given(size=SIZES, faces=st.integers(2, 50))
def test_nobody_stands_before_the_face_of_another(size, faces):
    people = place_people_in_frame(size, faces, faces)
    y = [person.pose(0.0, *size) @ (*person.portrait.centre, 1) for person in people]
    for one, a in zip(people, y, strict=True):
        for other, b in zip(people, y, strict=True):
            # Who is drawn later is larger, and stands lower or in the same row.
            face = other.size.mean * min(size[0] / 640, size[1] / 480)
            if b[1] > a[1] + face:
                assert other.size.mean > one.size.mean


@pytest.mark.parametrize("faces", [0, 1, 6, 20])
def test_the_detector_finds_them(faces, detector):
    (frame,) = compose((640, 480), faces, 20, 1)
    assert abs(len(detector(frame)) - faces) <= 1


def test_frames_of_a_source_differ_and_are_the_same_each_time():
    first, second = compose((160, 120), 1, 4, 2)
    assert (first != second).any()
    again = compose((160, 120), 1, 4, 2)
    assert (again[1] == second).all()


def test_cases_share_the_frames_that_they_have_in_common():
    a, b = Case("detect", (160, 120), 1, 20), Case("label", (160, 120), 1, 40, threads=2)
    own = Case("detect", None, None, 20)
    assert source_of(a) == source_of(b)
    frame = np.zeros((9, 9, 3), np.uint8)
    frames = make_frames(dict.fromkeys(map(source_of, (a, own))), 2, [frame])
    assert len(frames[source_of(a)]) == 2
    assert frames[None] == [frame]


def test_the_digest_tells_pixels_and_shapes_apart():
    flat, tall = np.zeros((2, 8, 3), np.uint8), np.zeros((8, 2, 3), np.uint8)
    assert digest({None: [flat]}) == digest({None: [flat.copy()]})
    assert len({digest({None: [image]}) for image in (flat, tall, flat + 1)}) == 3


def test_an_empty_room_is_the_hall():
    assert (compose((160, 120), 0, 20, 1)[0] == SampleScene(160, 120, ()).render(0)[0]).all()
