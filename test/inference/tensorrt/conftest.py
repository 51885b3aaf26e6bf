# SPDX-License-Identifier: Apache-2.0
"""An engine cache in a folder of the test."""

import pytest
from stored_engines import KEY, PLAN

from mask_detector_ros.inference.tensorrt.cache import EngineCache


@pytest.fixture
def cache(tmp_path):
    return EngineCache(str(tmp_path / "engines"))


@pytest.fixture
def stored(cache):
    with cache.lock(KEY):
        return cache.write(KEY, PLAN)
