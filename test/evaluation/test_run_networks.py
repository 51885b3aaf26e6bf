# SPDX-License-Identifier: Apache-2.0
"""Running the networks over a data set."""

import cv2
import numpy as np
import pytest

from mask_detector_ros import MaskDetector
from mask_detector_ros.errors import ParameterError
from mask_detector_ros.evaluation.dataset import LabelledImage
from mask_detector_ros.evaluation.run_networks import Networks, predict
from mask_detector_ros.parameters import DETECTOR_PARAMETERS, check_parameters
from mask_detector_ros.sources.sample_scene import SampleScene

# The public weights also propose what is no face, so that there is something to sort out.
OPTIONS = {"threads": 1, "min_face_size": 30, "detector_model": "mtcnn"}


@pytest.fixture(scope="module")
def networks():
    values = check_parameters(DETECTOR_PARAMETERS, OPTIONS)
    return Networks.load(values, ["mask_classifier"])


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    """A frame of the sample scene, and its ground truth."""
    image, truth = SampleScene().render(10)
    path = tmp_path_factory.mktemp("scene") / "scene.png"
    cv2.imwrite(str(path), image)
    return path, image, truth


def labelled(path, boxes, label_ids, ignored=(), is_whole_image=False):
    return LabelledImage(
        path,
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(label_ids, np.int64),
        np.array(ignored, np.float32).reshape(-1, 4),
        is_whole_image,
    )


def test_the_accepted_detections_are_those_of_the_detector_itself(networks, picture):
    path, image, truth = picture
    predictions = predict([labelled(path, truth.boxes, truth.label_ids)] * 2, networks)
    faces = MaskDetector.load(**OPTIONS)(image)
    second = predictions.accepted & (predictions.images == 1)
    assert predictions.boxes[second].tolist() == faces.boxes.tolist()
    assert predictions.scores[second].tolist() == faces.scores.tolist()
    np.testing.assert_allclose(
        predictions.probabilities["mask_classifier"][second], faces.probabilities, atol=1e-6
    )
    assert len(predictions.scores) > 2 * len(faces)  # and there are more for the curve


def test_matches_point_to_the_faces_of_the_same_image(networks, picture):
    path, _, truth = picture
    predictions = predict([labelled(path, truth.boxes, truth.label_ids)] * 2, networks)
    matched = np.flatnonzero(predictions.matches >= 0)
    assert len(matched) >= 2
    assert (
        predictions.truth_images[predictions.matches[matched]] == predictions.images[matched]
    ).all()
    assert (predictions.overlaps[matched] >= 0.5).all()
    found = np.flatnonzero(predictions.found_by >= 0)
    assert (predictions.matches[predictions.found_by[found]] == found).all()


def test_a_cut_out_face_is_classified_but_not_searched_for(networks, astronaut_file):
    face = labelled(astronaut_file, [[0, 0, 256, 256]], [1], is_whole_image=True)
    predictions = predict([face], networks)
    assert len(predictions.scores) == 0
    assert predictions.for_detection.tolist() == [False]
    assert predictions.crop_probabilities["mask_classifier"].sum(axis=1) == pytest.approx(1)


def test_detections_on_ignored_places_are_dropped(networks, picture):
    path, _, truth = picture
    counted = predict([labelled(path, [], [])], networks)
    dropped = predict([labelled(path, [], [], ignored=truth.boxes)], networks)
    assert 0 < len(dropped.scores) < len(counted.scores)


def test_a_whole_cascade_is_refused_with_what_to_evaluate_instead(tmp_path):
    whole = tmp_path / "cascade.onnx"
    whole.write_bytes(b"of one image size")
    values = check_parameters(DETECTOR_PARAMETERS, {**OPTIONS, "detector_model": str(whole)})
    text = r"cascade.onnx is a single-file cascade.*was made from"
    with pytest.raises(ParameterError, match=text):
        Networks.load(values, ["mask_classifier"])


def test_a_perturbation_that_leaves_no_photograph_says_so(networks, astronaut_file):
    cut_out = labelled(astronaut_file, [[0, 0, 512, 512]], [1], is_whole_image=True)
    with pytest.raises(ParameterError, match="edge leaves no photograph"):
        predict([cut_out], networks, perturbation="edge")
