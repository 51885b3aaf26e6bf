# SPDX-License-Identifier: Apache-2.0
"""Backend auto: the CPU runs while engines are built, then TensorRT takes over, and back."""

import numpy as np
import pytest
from waiting import wait_until

from mask_detector_ros.detector import MaskDetector
from mask_detector_ros.errors import BackendError, ImageError
from mask_detector_ros.inference.tensorrt import profile


@pytest.fixture(scope="module")
def engines(tmp_path_factory):
    """A folder of engines that the tests share; the first test builds them."""
    return str(tmp_path_factory.mktemp("engines"))


@pytest.fixture
def load(engines):
    detectors = []

    def load(**parameters):
        common = {"threads": 1, "precision": "fp32", "engine_cache_dir": engines}
        detector = MaskDetector.load(**{**common, **parameters})
        detectors.append(detector)
        return detector

    yield load
    for detector in detectors:
        detector.close()


def assert_same(found, expected):
    assert found.labels == expected.labels
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=0.1)
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-3)


def test_auto_serves_from_the_cpu_then_goes_over_between_two_images(
    gpu, load, astronaut, caplog, tmp_path
):
    caplog.set_level("INFO")
    gpu.set(build_seconds=600)
    detector = load(engine_cache_dir=str(tmp_path))
    assert detector.backend == "onnxruntime"
    wait_until(lambda: detector.engine_state.startswith("building proposal"))
    expected = detector(astronaut)
    assert len(expected) == 1
    assert detector.backend == "onnxruntime"
    gpu.set()
    detector.wait_for_engines()
    # Not before the next image: a frame is seen by one set of networks.
    assert detector.backend == "onnxruntime"
    assert_same(detector(astronaut), expected)
    assert (detector.backend, detector.engine_state) == ("tensorrt", "ready")
    assert detector.device == "Orin (TensorRT 10.3.0, fp32)"
    assert gpu.builds == 2
    assert "now serving from tensorrt on Orin" in caplog.text


def test_with_stored_engines_it_goes_over_at_once(gpu, load, astronaut):
    explicit = load(backend="tensorrt")
    assert (explicit.backend, explicit.engine_state) == ("tensorrt", "ready")
    builds = gpu.builds
    detector = load()
    detector.wait_for_engines()
    assert_same(detector(astronaut), explicit(astronaut))
    assert detector.backend == "tensorrt"
    assert gpu.builds == builds


def test_a_build_that_fails_leaves_the_cpu_serving(gpu, load, astronaut, tmp_path):
    gpu.set(build_fault="refuse")
    detector = load(engine_cache_dir=str(tmp_path))
    detector.wait_for_engines()
    assert len(detector(astronaut)) == 1
    assert detector.backend == "onnxruntime"
    assert detector.engine_state.startswith("failed: TensorRT cannot build proposal")
    assert detector.backend_reason.startswith("staying on the CPU: TensorRT cannot build prop")


def test_a_gpu_that_fails_while_serving_is_given_up_and_the_frame_is_not_lost(
    gpu, load, astronaut, caplog
):
    detector = load()
    detector.wait_for_engines()
    assert len(detector(astronaut)) == 1
    assert detector.backend == "tensorrt"
    gpu.set(run_fault="nan")
    assert len(detector(astronaut)) == 1
    assert detector.backend == "onnxruntime"
    assert "infinity or NaN" in detector.engine_state
    assert "going back to onnxruntime on CPU" in caplog.text
    gpu.set()
    detector(astronaut)
    assert detector.backend == "onnxruntime"


@pytest.fixture
def small_tiles(monkeypatch):
    """Engines that take smaller tiles than the pyramid of the astronaut has."""
    monkeypatch.setattr(profile, "TILE_SIZES", ((12, 12), (97, 131), (100, 140)))


def test_an_image_too_large_for_the_engine_is_seen_by_the_cpu(gpu, load, astronaut, small_tiles):
    detector = load(detector_model="mtcnn_masked")
    detector.wait_for_engines()
    assert len(detector(astronaut)) == 1
    assert detector.backend == "onnxruntime"
    assert "raise min_face_size" in detector.engine_state


def test_an_explicit_choice_never_degrades(gpu, load, astronaut):
    detector = load(backend="tensorrt")
    gpu.set(run_fault="nan")
    with pytest.raises(BackendError, match="infinity or NaN"):
        detector(astronaut)
    assert detector.backend == "tensorrt"
    gpu.set(build_fault="refuse")
    with pytest.raises(BackendError, match="cannot build"):
        load(backend="tensorrt", detector_model="mtcnn")


def test_an_explicit_choice_rejects_an_image_too_large_for_the_engine(
    gpu, load, astronaut, small_tiles
):
    detector = load(backend="tensorrt", detector_model="mtcnn_masked")
    with pytest.raises(ImageError, match="raise min_face_size"):
        detector(astronaut)
    assert detector.backend == "tensorrt"


def test_without_a_gpu_auto_stays_on_the_cpu_and_says_why(gpu, load, caplog):
    caplog.set_level("INFO")
    gpu.set(gpus=None)
    detector = load()
    assert (detector.backend, detector.engine_state) == ("onnxruntime", "")
    assert "backend auto: staying on the CPU: no CUDA device was found" in caplog.text


def test_closing_gives_up_a_build(gpu, load, astronaut, tmp_path):
    gpu.set(build_seconds=600)
    detector = load(engine_cache_dir=str(tmp_path))
    wait_until(lambda: gpu.builds == 1)
    detector.close()
    assert len(detector(astronaut)) == 1
    assert detector.backend == "onnxruntime"
