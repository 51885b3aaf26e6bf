# SPDX-License-Identifier: Apache-2.0
"""The effect of light, lens and compression on views."""

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train`")

from training.two_stage.view_changes import (  # noqa: E402
    Changes,
    change_light,
    compress,
    cover_with_hand,
    degrade,
    occlude,
)

NONE = Changes(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 5.0, (30, 90))


@pytest.fixture
def pixels():
    torch.manual_seed(0)
    coarse = torch.rand(4, 3, 8, 8) * 255
    return torch.nn.functional.interpolate(coarse, (32, 32), mode="bilinear").round()


def test_without_changes_pixels_stay(pixels):
    assert (degrade(pixels, NONE) - pixels).abs().max() <= 1
    assert torch.equal(occlude(pixels, 0.0), pixels)


@pytest.mark.parametrize("change", ["blur", "noise", "jpeg"])
def test_each_change_shows(pixels, change):
    changed = degrade(pixels, replace(NONE, **{change: 1.0}))
    assert (changed - pixels).abs().mean() > 0.3
    assert changed.min() >= 0
    assert changed.max() <= 255


def test_compression_loses_more_at_lower_quality(pixels):
    loss = [
        (compress(pixels, torch.full((4, 1, 1, 1), quality)) - pixels).abs().mean().item()
        for quality in (98.0, 60.0, 10.0)
    ]
    assert loss[0] < 2
    assert loss[0] < loss[1] < loss[2]


def test_an_occlusion_covers_a_part_of_every_view(pixels):
    covered = (occlude(pixels, 1.0) != pixels).any(1).float().mean((1, 2))
    assert (covered < 0.4).all()
    assert covered.max() > 0


def test_grey_light_leaves_one_tint(pixels):
    torch.manual_seed(1)
    colours = (change_light(pixels, 1.0) + 1).log()
    # One gain a channel at most: the channels differ by factors, not by what they show.
    spread = (colours[:, 0] - colours[:, 1]).std((1, 2))
    assert (spread < 0.2).all()


def test_hands_cover_a_part_of_some_views_with_skin():
    torch.manual_seed(0)
    pixels = torch.zeros(200, 3, 32, 32)
    views, covered = cover_with_hand(pixels, 0.5)
    changed = views.sum(1) > 0
    assert 0.3 < covered.float().mean() < 0.55
    assert (changed.float().mean((1, 2))[covered] < 0.8).all()
    assert not changed[~covered].float().mean() > 0.03
    blue, _, red = (views[:, channel][changed].mean() for channel in range(3))
    assert red > blue + 10
    assert torch.equal(cover_with_hand(pixels, 0.0)[0], pixels)
