# SPDX-License-Identifier: Apache-2.0
"""Faces, the parallel arrays that travel between all parts."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mask_detector_ros.faces import NO_LABEL, Faces

LABELS = ("with_mask", "without_mask", "mask_worn_incorrectly")


def make_faces(count, *, labels=LABELS, tracked=False, seed=0):
    random = np.random.default_rng(seed)
    corner = random.uniform(-20, 600, (count, 2))
    return Faces(
        boxes=np.hstack([corner, corner + random.uniform(1, 200, (count, 2))]),
        scores=random.uniform(0, 1, count),
        landmarks=random.uniform(0, 600, (count, 5, 2)),
        probabilities=random.dirichlet(np.ones(len(labels)), count) if labels else None,
        label_names=labels,
        track_ids=np.arange(count) + 7 if tracked else None,
        track_ages=np.arange(count) / 8 if tracked else None,
    )


def assert_equal(a, b):
    for name in vars(a):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


def test_every_array_gets_its_documented_type_and_shape():
    faces = make_faces(4, tracked=True)
    kinds = {
        name: (value.dtype, value.shape)
        for name, value in vars(faces).items()
        if name not in ("label_names", "label_roles")
    }
    assert kinds == {
        "boxes": (np.float32, (4, 4)),
        "scores": (np.float32, (4,)),
        "landmarks": (np.float32, (4, 5, 2)),
        "probabilities": (np.float32, (4, 3)),
        "label_ids": (np.int64, (4,)),
        "track_ids": (np.int64, (4,)),
        "track_ages": (np.float64, (4,)),
    }


def test_no_faces_are_arrays_of_length_zero_and_not_none():
    faces = Faces.empty(LABELS)
    assert len(faces) == 0
    assert faces.boxes.shape == (0, 4)
    assert faces.scores.shape == (0,)
    assert faces.landmarks.shape == (0, 5, 2)
    assert faces.probabilities.shape == (0, 3)
    assert faces.label_ids.shape == (0,)
    assert faces.label_probabilities.shape == (0,)
    assert faces.labels == []
    assert faces.track_ids is None
    assert faces.to_records() == []
    assert faces.count_labels() == dict.fromkeys(LABELS, 0)


def test_empty_lists_make_no_faces():
    assert_equal(Faces([], [], [], label_names=LABELS), Faces.empty(LABELS))


def test_the_label_is_the_most_probable_one():
    faces = make_faces(20)
    assert faces.labels == [LABELS[i] for i in faces.probabilities.argmax(axis=1)]
    np.testing.assert_array_equal(faces.label_probabilities, faces.probabilities.max(axis=1))


def test_label_ids_that_are_given_win_over_the_probabilities():
    faces = Faces(
        np.zeros((2, 4)),
        np.zeros(2),
        np.zeros((2, 5, 2)),
        probabilities=[[0.9, 0.1], [0.8, 0.2]],
        label_names=("yes", "no"),
        label_ids=[1, NO_LABEL],
    )
    assert faces.labels == ["no", ""]
    np.testing.assert_allclose(faces.label_probabilities, [0.1, 0])
    assert faces.count_labels() == {"yes": 0, "no": 1}


def test_faces_that_no_classifier_saw_have_no_label():
    faces = make_faces(3, labels=())
    assert faces.labels == ["", "", ""]
    assert faces.label_ids.tolist() == [NO_LABEL] * 3
    assert faces.label_probabilities.tolist() == [0, 0, 0]
    assert faces.count_labels() == {}


def test_a_classifier_adds_labels_and_leaves_the_rest():
    before = make_faces(2, labels=(), tracked=True)
    after = before.with_probabilities(np.float32([[0.2, 0.8], [0.7, 0.3]]), ["yes", "no"])
    assert after.labels == ["no", "yes"]
    assert before.labels == ["", ""]
    np.testing.assert_array_equal(after.boxes, before.boxes)
    np.testing.assert_array_equal(after.track_ids, before.track_ids)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("boxes", np.zeros((2, 5))),
        ("scores", np.zeros(3)),
        ("scores", np.zeros((2, 1))),
        ("landmarks", np.zeros((2, 10))),
        ("probabilities", np.zeros((2, 2))),
        ("label_ids", [0]),
        ("track_ids", [1, 2, 3]),
    ],
)
def test_an_array_of_another_length_is_refused_by_name(name, value):
    arrays = vars(make_faces(2)) | {name: value}
    with pytest.raises(ValueError, match=rf"Faces\.{name} must have shape .*, got "):
        Faces(**arrays)


@pytest.mark.parametrize("ids", [[0, 3], [0, -2]])
def test_a_label_id_without_a_name_is_refused(ids):
    with pytest.raises(ValueError, match="label_ids must index the 3 label_names"):
        Faces(**vars(make_faces(2)) | {"label_ids": ids})


def test_faces_cannot_be_changed_by_assignment():
    with pytest.raises(AttributeError):
        make_faces(1).scores = np.zeros(1)


@given(st.data())
def test_faces_are_selected_by_mask_integers_or_slice_alike(data):
    count = data.draw(st.integers(0, 6))
    faces = make_faces(count, tracked=data.draw(st.booleans()))
    mask = data.draw(st.lists(st.booleans(), min_size=count, max_size=count))
    rows = [i for i, chosen in enumerate(mask) if chosen]
    by_rows = faces[rows]
    assert len(by_rows) == len(rows)
    assert_equal(faces[np.array(mask, bool)], by_rows)
    assert_equal(faces[np.array(rows, int)], by_rows)
    np.testing.assert_array_equal(by_rows.boxes, faces.boxes[np.array(mask, bool)])
    start = data.draw(st.integers(0, count))
    assert_equal(faces[start:], faces[list(range(start, count))])


def test_an_empty_list_selects_no_face():
    assert_equal(make_faces(3)[[]], Faces.empty(LABELS))


def test_one_integer_selects_one_face_and_a_loop_visits_each():
    faces = make_faces(3)
    assert len(faces[-1]) == 1
    assert [face.scores[0] for face in faces] == faces.scores.tolist()
    with pytest.raises(IndexError):
        faces[3]


@given(st.integers(0, 5), st.booleans(), st.sampled_from([(), LABELS]))
def test_records_say_the_same_as_the_arrays_and_survive_json(count, tracked, labels):
    faces = make_faces(count, labels=labels, tracked=tracked)
    records = json.loads(json.dumps(faces.to_records(), allow_nan=False))
    assert len(records) == count
    for i, record in enumerate(records):
        np.testing.assert_allclose(record["box"], faces.boxes[i], atol=0.01)
        np.testing.assert_allclose(record["landmarks"], faces.landmarks[i], atol=0.01)
        assert record["score"] == pytest.approx(faces.scores[i], abs=1e-4)
        assert record["label"] == faces.labels[i]
        assert list(record["probabilities"]) == list(labels)
        assert record.get("track_id") == (i + 7 if tracked else None)
