# SPDX-License-Identifier: Apache-2.0
"""A pool of views that teachers labelled before the training."""

import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train`")

from training.two_stage.taught_pairs import AT_ONCE, TaughtPairs  # noqa: E402


class Maker:
    """Views whose first pixel tells what was said of them."""

    def __init__(self):
        self.drawn = 0

    def draw_pairs(self, count, side, teachers):
        self.drawn += count
        said = torch.randint(256, (count,)).float()
        pixels = torch.zeros(count, 3, side, side) + said[:, None, None, None]
        pixels[..., 0] = 0
        return pixels, said[:, None].expand(count, 3)


def test_a_pool_is_made_once_and_mirrored():
    torch.manual_seed(0)
    maker = Maker()
    pool = TaughtPairs(maker, AT_ONCE + 1, 8, [])
    assert maker.drawn == 2 * AT_ONCE
    pixels, taught = pool.draw(200)
    assert maker.drawn == 2 * AT_ONCE
    assert torch.equal(pixels[:, 0, 0, 4], taught[:, 0])
    mirrored = pixels[taught[:, 0] > 0][..., -1].sum((1, 2)) == 0
    assert mirrored.any()
    assert not mirrored.all()


def test_without_a_pool_every_draw_makes_new_views():
    maker = Maker()
    pool = TaughtPairs(maker, 0, 8, [])
    assert maker.drawn == 0
    pixels, taught = pool.draw(5)
    assert maker.drawn == len(pixels) == len(taught) == 5
