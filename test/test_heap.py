# SPDX-License-Identifier: Apache-2.0
"""Freed memory returns to the system after large images."""

from __future__ import annotations

import pytest

from mask_detector_ros import heap


def test_memory_is_returned_once_after_large_images(monkeypatch: pytest.MonkeyPatch) -> None:
    returned: list[int] = []
    monkeypatch.setattr(heap, "trim_heap", lambda: returned.append(1))
    trimmer = heap.HeapTrimmer()
    for pixels in (300_000, 8_000_000, 8_000_000, 2_100_000):
        trimmer.before_image(pixels)
    assert not returned
    for _ in range(3):
        trimmer.before_image(300_000)
    assert len(returned) == 1
    for pixels in (100_000, 10_000, 300_000):
        trimmer.before_image(pixels)
    assert len(returned) == 1
