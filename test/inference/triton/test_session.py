# SPDX-License-Identifier: Apache-2.0
"""A detector on a small gRPC server: the checks on connecting, the requests, the answers."""

import json

import numpy as np
import pytest

pytest.importorskip("tritonclient.grpc", reason="the triton extra is not installed")

from grpc_detector import FORMS, GrpcDetector
from waiting import wait_until

from mask_detector_ros import MaskDetector
from mask_detector_ros.errors import ImageError, MaskDetectorError, ModelError, ServerError
from mask_detector_ros.inference.triton.connection import MAX_REPLY_BYTES

LABELS = ("with_mask", "without_mask", "mask_worn_incorrectly")


@pytest.fixture
def server():
    # Its own detector: the server's thread runs it.
    server = GrpcDetector(MaskDetector.load(threads=1))
    yield server
    server.close()


@pytest.fixture
def load(server):
    detectors = []

    def load(**parameters):
        common = {"backend": "triton", "server_url": server.url, "server_deadline": 30.0}
        detectors.append(MaskDetector.load(**{**common, **parameters}))
        return detectors[-1]

    yield load
    for detector in detectors:
        detector.close()


def assert_same(found, expected):
    np.testing.assert_array_equal(found.boxes, expected.boxes)
    np.testing.assert_array_equal(found.landmarks, expected.landmarks)
    np.testing.assert_array_equal(found.probabilities, expected.probabilities)
    assert (found.labels, found.label_roles) == (expected.labels, expected.label_roles)


def test_the_faces_are_those_of_this_machine(load, detector, astronaut):
    assert_same(load()(astronaut), detector(astronaut))


def test_a_closed_detector_connects_again(load, server, astronaut):
    served = load()
    served.close()
    assert len(served(astronaut)) == 1


def test_the_detector_says_who_serves(load, server):
    served = load()
    assert served.backend == "triton"
    assert served.device == f"127.0.0.1:{server.port} (mask_detector)"
    assert served.backend_reason == f"serving from mask_detector at 127.0.0.1:{server.port}"
    assert (served.server_state, served.engine_state) == ("serving", "")


@pytest.mark.parametrize("batched", [False, True], ids=["plain", "with a batch dimension"])
def test_a_model_may_take_batches_of_images(load, server, detector, astronaut, batched):
    server.batched = batched
    assert_same(load()(astronaut), detector(astronaut))
    assert len(server.requests[-1].inputs[0].shape) == 3 + batched


def test_a_view_of_an_array_is_sent_as_it_looks(load, detector, astronaut):
    flipped = astronaut[:, ::-1]
    assert_same(load()(flipped), detector(np.ascontiguousarray(flipped)))


def test_jpeg_is_small_and_finds_the_same_faces(load, server, detector, astronaut):
    found = load(server_image_format="jpeg")(astronaut)
    (content,) = server.requests[-1].raw_input_contents
    assert len(content) < astronaut.nbytes / 5
    np.testing.assert_allclose(found.boxes, detector(astronaut).boxes, atol=2)
    assert found.labels == ["without_mask"]


def test_the_quality_of_jpeg_is_a_parameter(load, server, astronaut):
    sizes = []
    for quality in (50, 95):
        load(server_image_format="jpeg", server_jpeg_quality=quality)(astronaut)
        sizes.append(len(server.requests[-1].raw_input_contents[0]))
    assert sizes[0] < sizes[1] / 2


def test_a_model_without_jpeg_gets_raw_pixels_and_the_log_says_so_once(
    load, server, astronaut, caplog
):
    del server.inputs["jpeg"]
    served = load(server_image_format="jpeg")
    for _ in range(2):
        assert len(served(astronaut)) == 1
    assert server.requests[-1].inputs[0].name == "image"
    assert caplog.text.count("takes no JPEG: images are sent as raw pixels") == 1


def test_where_shared_memory_is_rejected_images_travel_in_messages(load, server, astronaut, caplog):
    caplog.set_level("INFO")
    served = load()
    for _ in range(2):
        assert len(served(astronaut)) == 1
        assert len(server.requests[-1].raw_input_contents) == 1
    assert caplog.text.count("offers no shared memory; images travel in messages") == 1


def test_live_parameters_travel_with_the_image(load, server, astronaut):
    served = load(min_face_size=40, detection_thresholds=(0.5, 0.6, 0.8))
    served(astronaut)
    sent = server.requests[-1].parameters
    assert sent["min_face_size"].int64_param == 40
    assert json.loads(sent["detection_thresholds"].string_param) == [0.5, 0.6, 0.8]
    assert json.loads(sent["pyramid_factor"].string_param) == 0.709
    assert sent["timeout"].int64_param == 30_000_000


def test_near_face_search_is_left_to_this_machine(load, detector, astronaut):
    # Elsewhere on the image, near-face search finds nothing.
    far = np.array([[0, 0, 30, 30]], np.float32)
    assert len(detector(astronaut, far)) == 0
    assert_same(load()(astronaut, far), detector(astronaut))


def test_what_the_server_left_out_is_reported(load, server, astronaut):
    server.outputs["dropped"] = (-1,)
    server.change = lambda arrays: {**arrays, "dropped": np.array([7], np.float32)}
    served = load()
    served(astronaut)
    assert str(served.overrun) == "frame over budget: kept 1 of 8 candidates"


def test_empty_slots_are_no_faces(load, server, detector, astronaut):
    def pad(arrays):
        return {n: np.pad(a, ((0, 2), *((0, 0),) * (a.ndim - 1))) for n, a in arrays.items()}

    server.change = pad
    assert_same(load()(astronaut), detector(astronaut))


def test_max_faces_holds_whatever_the_server_does(load, astronaut):
    pair = np.hstack([astronaut, astronaut])
    served = load(max_faces=1)
    assert len(served(pair)) == 1


def test_a_model_for_one_size_rejects_others_with_both_sizes(load, server, astronaut):
    server.inputs["image"] = ("TYPE_UINT8", (512, 512, 3))
    served = load()
    assert len(served(astronaut)) == 1
    with pytest.raises(ImageError, match="made for images of 512x512, got 512x300"):
        served(astronaut[:300])


# What is checked at connect


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_sha256": "0" * 64}, "has other weights: sha256 000000000000 .*expected is"),
        ({"labels": "not JSON"}, "does not name its labels"),
        ({"labels": ""}, "does not name its labels"),
        ({"roles": '["with_mask"]'}, "does not name its labels .*a list of 3"),
    ],
)
def test_another_model_is_rejected_at_connect(load, server, change, message):
    server.parameters.update(change)
    with pytest.raises(ModelError, match=message):
        load()


def test_the_user_may_expect_other_weights(load, server, astronaut):
    server.parameters["model_sha256"] = "ab" * 32
    for expected in ("any", "ab" * 32):
        assert len(load(server_sha256=expected)(astronaut)) == 1
    with pytest.raises(ModelError, match=r"sha256 abababababab .*expected is cdcdcdcdcdcd"):
        load(server_sha256="cd" * 32)


def test_weights_without_a_hash_are_taken_with_a_warning(load, server, astronaut, caplog):
    del server.parameters["model_sha256"]
    assert len(load()(astronaut)) == 1
    assert "does not say the hash of its weights" in caplog.text


def test_another_version_of_the_package_is_a_warning(load, server, caplog):
    server.parameters["package_version"] = "9.9.9"
    load()
    assert "runs version 9.9.9 of this package" in caplog.text


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        ({"image": ("TYPE_FP32", (-1, -1, 3))}, FORMS),
        ({"image": ("TYPE_UINT8", (3, -1, -1))}, FORMS),
        ({"image": ("TYPE_UINT8", (-1, -1))}, FORMS),
        ({"data": ("TYPE_FP32", (1000,))}, {"class": (1,)}),
        ({"image": ("TYPE_UINT8", (-1, -1, 3))}, {"boxes": (-1, 4)}),
        ({}, {}),
    ],
)
def test_a_model_of_another_form_is_no_mask_detector(load, server, inputs, outputs):
    server.inputs, server.outputs = inputs, dict(outputs)
    with pytest.raises(ModelError, match=r"not a mask detector: it takes .* and gives .*it must"):
        load()


def test_an_answer_has_a_largest_size(load, server, astronaut):
    served = load()
    server.change = lambda arrays: {**arrays, "more": np.zeros(MAX_REPLY_BYTES // 4)}
    with pytest.raises(ServerError, match=r"fails .RESOURCE_EXHAUSTED: .*larger than max"):
        served(astronaut)


# What is checked later


def test_a_model_that_is_replaced_behind_the_connection_is_noticed(
    load, server, astronaut, monkeypatch
):
    # As by a load balancer, or when the server loads its files again.
    monkeypatch.setattr("mask_detector_ros.inference.triton.session.CHECK_PERIOD", 0.0)
    served = load()
    assert len(served(astronaut)) == 1
    labels = server.parameters["labels"]
    server.parameters["labels"] = json.dumps(LABELS[::-1])
    with pytest.raises(ServerError, match="was replaced by another model"):
        served(astronaut)
    with pytest.raises(ModelError, match=r"has other labels: it labels faces .*expected are"):
        served(astronaut)
    assert served.server_state.startswith("not serving: mask_detector at")
    server.parameters["labels"] = labels
    wait_until(lambda: _succeeds(served, astronaut))
    assert served.server_state == "serving"


def test_a_newer_version_of_the_model_is_noticed_at_once(load, server, astronaut):
    served = load()
    assert len(served(astronaut)) == 1
    server.version = "2"
    with pytest.raises(ServerError, match="was replaced by another model"):
        served(astronaut)
    assert len(served(astronaut)) == 1


def _succeeds(detector, image):
    try:
        return detector(image)
    except MaskDetectorError:
        return None


# Answers that cannot be used

DAMAGED = {
    "an output is missing": lambda arrays: {k: v for k, v in arrays.items() if k != "scores"},
    "no output": lambda arrays: {},
    "a number that is none": lambda arrays: {**arrays, "boxes": arrays["boxes"] * np.nan},
    "a count that is none": lambda arrays: {**arrays, "dropped": np.full(1, np.inf)},
    "scores above 1": lambda arrays: {**arrays, "scores": arrays["scores"] + 1},
    "one score too many": lambda arrays: {**arrays, "scores": np.ones(9)},
    "one box too many": lambda arrays: {**arrays, "boxes": np.ones((9, 4))},
    "too few labels": lambda arrays: {**arrays, "probabilities": arrays["probabilities"][:, :2]},
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_answer_is_an_error_of_this_frame(load, server, detector, astronaut, damage):
    served = load()
    change, server.change = server.change, damage
    with pytest.raises(ModelError):
        served(astronaut)
    server.change = change
    assert_same(served(astronaut), detector(astronaut))
