# SPDX-License-Identifier: Apache-2.0
"""Images and detectors that many tests share."""

import gc
import logging
import os
import signal
from functools import lru_cache

import cv2
import numpy as np
import pytest
from gpu_stand_in import VERSIONS, FakeGpu
from hypothesis import HealthCheck, settings
from ros_domains import reserve_domain

from mask_detector_ros.detector import MaskDetector
from mask_detector_ros.inference.cores import usable_cores
from mask_detector_ros.models import find_detector
from mask_detector_ros.mtcnn.loading import load_cascade
from mask_detector_ros.sources.sample_scene import scene


def restore_signals():
    """Processes that tests start must end on signals, even if this process ignores them.

    A shell has what it starts in the background ignore SIGINT, and nodes ignore both at their end.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        kind = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        signal.signal(number, kind)


# Collection makes hundreds of thousands of objects that live until the end.
gc.disable()

# No suite hears another one, nor a robot that the user's shell is set up for.
domain, domain_lock = reserve_domain()
os.environ["ROS_DOMAIN_ID"] = str(domain)

# Fixtures of a module or session start processes before those of a test are set up.
restore_signals()

# Many tests have a scene of their own, whose people and hall take half a second to draw.
scene.draw_sprites = lru_cache(scene.draw_sprites)
scene.draw_hall = lru_cache(scene.draw_hall)

# A busy machine is no failure. Every run draws the same examples; `make fuzz` draws thousands more.
settings.register_profile(
    "ours",
    deadline=None,
    derandomize=True,
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("ours")


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """Tests do not use the user's cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    """`-n auto`: one process per core that a container may use; none beside this one if there is
    one core."""
    cores = min(usable_cores(), 8)
    return cores if cores > 1 else 0


def pytest_collection_modifyitems(items):
    """Mark the tests that run nodes as processes, by the fixtures that start them."""
    for item in items:
        if {"graph", "rig"} & set(item.fixturenames) or item.path.parent.name == "launch":
            item.add_marker("graph")


def pytest_collection_finish():
    """What collection made stays: no garbage collection has to visit it again."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def default_signals():
    restore_signals()


@pytest.fixture(autouse=True)
def default_log():
    """Restore the library's log, since a node in this process takes it over."""
    yield
    library = logging.getLogger("mask_detector_ros")
    library.handlers.clear()
    library.propagate = True
    library.setLevel(logging.NOTSET)


@pytest.fixture(scope="session")
def astronaut():
    """The portrait of scikit-image: (512, 512, 3) BGR, one bare face of about 100 pixels."""
    image = cv2.cvtColor(pytest.importorskip("skimage.data").astronaut(), cv2.COLOR_RGB2BGR)
    image.setflags(write=False)
    return image


@pytest.fixture(scope="session")
def noise():
    """A 160x120 image without a face."""
    return np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)


@pytest.fixture(scope="session")
def cascade():
    """The shipped MTCNN on one thread."""
    return load_cascade(find_detector("mtcnn"), threads=1)


@pytest.fixture(scope="session")
def detector():
    """The default detector on one thread. Do not configure it: tests share it."""
    return MaskDetector.load(threads=1)


@pytest.fixture(scope="session")
def astronaut_file(astronaut, tmp_path_factory):
    """The 256x256 pixels around the astronaut's head, as a PNG file."""
    path = tmp_path_factory.mktemp("portrait") / "astronaut.png"
    cv2.imwrite(str(path), astronaut[20:276, 96:352])
    return path


@pytest.fixture(scope="session")
def walk(astronaut_file):
    """Six frames: a face that moves to the right; the fourth is without one."""
    face = cv2.imread(str(astronaut_file))
    moved = [np.roll(face, 4 * i, axis=1) for i in range(6)]
    moved[3] = np.zeros_like(face)
    return moved


@pytest.fixture
def bare_gpu(tmp_path, monkeypatch):
    """The stand-in of a GPU, not yet installed."""
    folder = tmp_path / "gpu"
    folder.mkdir()
    gpu = FakeGpu(folder, monkeypatch)
    yield gpu
    gpu.remove_modules()


@pytest.fixture
def gpu(bare_gpu):
    """A simulated Orin with TensorRT 10.3."""
    bare_gpu.install()
    return bare_gpu


@pytest.fixture(params=[version for version in VERSIONS if version != "10.13.3"])
def any_gpu(request, bare_gpu):
    """A simulated GPU with each TensorRT that the code distinguishes."""
    bare_gpu.install(request.param)
    bare_gpu.version = request.param
    return bare_gpu
