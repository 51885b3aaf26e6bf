# SPDX-License-Identifier: Apache-2.0
"""The measurement of a server's overhead per frame."""

import json

import pytest

pytest.importorskip("tritonclient.grpc", reason="the triton extra is not installed")
pytest.importorskip("skimage", reason="the sample extra is not installed")

from benchmark.inference_server import missing_server
from benchmark.server_overhead import LOCAL, main


@pytest.mark.skipif(bool(missing_server()), reason=missing_server() or "it is there")
def test_raw_pixels_change_nothing_and_jpeg_is_a_tenth(tmp_path, capsys):
    out = tmp_path / "figures.json"
    assert main(["--frames", "2", "--quality", "90", "--out", str(out)]) == 0
    figures = json.loads(out.read_text())
    assert list(figures) == [LOCAL, "shared memory", "raw", "JPEG 90"]
    faces = figures[LOCAL]["faces"]
    assert faces > 0
    for way in (LOCAL, "shared memory", "raw"):
        assert figures[way]["found_again"] == figures[way]["same_label"] == faces
        assert figures[way]["found_beside"] == figures[way]["largest_shift_px"] == 0
    assert figures["shared memory"]["bytes_per_frame"] == 0
    assert figures["raw"]["bytes_per_frame"] == 640 * 480 * 3
    assert 10_000 < figures["JPEG 90"]["bytes_per_frame"] < 640 * 480 * 3 / 10
    assert "overhead ms" in capsys.readouterr().out
