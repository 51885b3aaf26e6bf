# SPDX-License-Identifier: Apache-2.0
"""Freed memory goes back to the system when large images are over."""

from __future__ import annotations

import pytest

from mask_detector_ros import heap


def test_memory_is_returned_once_after_large_images(monkeypatch: pytest.MonkeyPatch) -> None:
    returned: list[int] = []
    monkeypatch.setattr(heap, "return_memory", lambda: returned.append(1))
    keeper = heap.HeapKeeper()
    for pixels in (300_000, 8_000_000, 8_000_000, 2_100_000):
        keeper.see(pixels)
    assert not returned
    for _ in range(3):
        keeper.see(300_000)
    assert len(returned) == 1
    for pixels in (100_000, 10_000, 300_000):
        keeper.see(pixels)
    assert len(returned) == 1
