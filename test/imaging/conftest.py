# SPDX-License-Identifier: Apache-2.0
"""Every video encoder."""

import shutil
from importlib.util import find_spec

import pytest

from mask_detector_ros.imaging import video_encoders

needs_av = pytest.mark.skipif(find_spec("av") is None, reason="needs PyAV: pip install av")
needs_ffmpeg = pytest.mark.skipif(
    shutil.which("ffmpeg") is None, reason="needs ffmpeg: apt install ffmpeg"
)

ENCODERS = [
    pytest.param("pyav", marks=needs_av),
    pytest.param("ffmpeg", marks=needs_ffmpeg),
    "opencv",
]


@pytest.fixture(params=ENCODERS)
def encoder(request, monkeypatch):
    """Each encoder in turn, as if the better ones were not installed."""
    if request.param != "pyav":
        monkeypatch.setattr(video_encoders, "find_spec", lambda name: None)
    if request.param == "opencv":
        monkeypatch.setattr(video_encoders.shutil, "which", lambda name: None)
    return request.param
