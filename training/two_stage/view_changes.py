# SPDX-License-Identifier: Apache-2.0
"""Change training views on batches of tensors: simulate light, lens, sensor and compression."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

LUMA = (0.114, 0.587, 0.299)
"""Weights of blue, green and red (ITU-R BT.601)."""

QUANTISATION = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
"""JPEG's table for luminance (ITU-T T.81, annex K), here for all channels."""

BLUR_REACH = 4

HAND_AREA = 0.03
"""Least part of a view that a hand covers."""


@dataclass(frozen=True)
class Changes:
    """How often and how strongly training views change.

    Attributes:
        grey, blur, noise, jpeg, occlusion, hand: fraction of the views that get each.
        blur_sigma: maximum, in pixels.
        noise_sigma: maximum, in grey levels.
        jpeg_quality: minimum and maximum.
    """

    grey: float
    blur: float
    noise: float
    jpeg: float
    occlusion: float
    hand: float
    blur_sigma: float
    noise_sigma: float
    jpeg_quality: Sequence[int]


def change_light(pixels: Tensor, grey: float) -> Tensor:
    """Change the light of training views, (B, 3, H, W) pixels, 0 to 255: gain, offset, gamma, tint,
    saturation."""
    like = pixels[:, :1, :1, :1]
    luma = pixels.new_tensor(LUMA)[:, None, None]
    mean = (pixels * luma).sum(1, keepdim=True)
    saturation = _uniform(like, 0.5, 1.4)
    saturation = torch.where(torch.rand_like(like) < 0.5, saturation, 1.0)
    saturation = torch.where(torch.rand_like(like) < grey, 0.0, saturation)
    pixels = mean + saturation * (pixels - mean)
    # Sometimes very dark, or with very low contrast.
    dark = torch.where(torch.rand_like(like) < 0.08, _uniform(like, 0.2, 0.6), 1.0)
    gain = _uniform(like, 0.7, 1.3) * dark * (1 + 0.05 * torch.randn_like(pixels[:, :, :1, :1]))
    pixels = pixels / 255 * gain + _uniform(like, -0.12, 0.12) * dark
    gamma = (0.25 * torch.randn_like(like)).exp()
    return (pixels.clamp(1e-4, 1) ** gamma) * 255


def degrade(pixels: Tensor, changes: Changes) -> Tensor:
    """Degrade training views: blur, add noise to and compress (B, 3, H, W) pixels; sides are
    multiples of 8."""
    pixels = _change_some(pixels, changes.blur, lambda some: _blur(some, changes.blur_sigma))
    pixels = _change_some(pixels, changes.noise, lambda some: _add_noise(some, changes.noise_sigma))
    low, high = changes.jpeg_quality
    pixels = _change_some(
        pixels,
        changes.jpeg,
        lambda some: compress(some.clamp(0, 255), _uniform(some[:, :1, :1, :1], low, high)),
    )
    return pixels.clamp(0, 255).round()


def _change_some(pixels: Tensor, share: float, change: Callable[[Tensor], Tensor]) -> Tensor:
    chosen = torch.nonzero(torch.rand(len(pixels), device=pixels.device) < share)[:, 0]
    return pixels.index_copy(0, chosen, change(pixels[chosen])) if len(chosen) else pixels


def _add_noise(pixels: Tensor, most: float) -> Tensor:
    return pixels + _uniform(pixels[:, :1, :1, :1], 1.0, most) * torch.randn_like(pixels)


def compress(pixels: Tensor, quality: Tensor) -> Tensor:
    """Simulate JPEG compression of training views, (B, 3, H, W) pixels, without chroma subsampling.

    Args:
        pixels: 0 to 255, sides multiples of 8.
        quality: (B, 1, 1, 1), 1 to 100, as in libjpeg.
    """
    order = torch.arange(8, device=pixels.device, dtype=torch.float32)
    basis = torch.cos((2 * order[None] + 1) * order[:, None] * math.pi / 16) / 2
    basis[0] /= math.sqrt(2)
    factor = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality) / 100
    table = (pixels.new_tensor(QUANTISATION) * factor).clamp(min=1)[:, :, None, :, None, :]
    count, channels, height, width = pixels.shape
    blocks = (pixels - 128).reshape(count, channels, height // 8, 8, width // 8, 8)
    frequencies = torch.einsum("ku,bchuwv,lv->bchkwl", basis, blocks, basis)
    frequencies = (frequencies / table[:, :, :, :, :, :]).round() * table
    blocks = torch.einsum("ku,bchkwl,lv->bchuwv", basis, frequencies, basis)
    return blocks.reshape(pixels.shape) + 128


def _blur(pixels: Tensor, most: float) -> Tensor:
    count, channels, height, width = pixels.shape
    like = pixels[:, 0, 0, :1]
    sigma = _uniform(like, 0.3, most)
    # Motion blur has one direction.
    other = torch.where(torch.rand_like(like) < 0.3, 0.01, sigma)
    swapped = torch.rand_like(like) < 0.5
    taps = torch.arange(-BLUR_REACH, BLUR_REACH + 1, device=pixels.device)
    flat = pixels.reshape(1, count * channels, height, width)
    for axis, width_of in enumerate(
        (torch.where(swapped, sigma, other), torch.where(swapped, other, sigma))
    ):
        kernel = (-0.5 * (taps / width_of) ** 2).exp()
        kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(channels, 0)
        shape = (-1, 1, 1, len(taps)) if axis else (-1, 1, len(taps), 1)
        pad = (BLUR_REACH, BLUR_REACH, 0, 0) if axis else (0, 0, BLUR_REACH, BLUR_REACH)
        flat = functional.conv2d(
            functional.pad(flat, pad, mode="replicate"),
            kernel.reshape(shape),
            groups=count * channels,
        )
    return flat.reshape(pixels.shape)


def occlude(pixels: Tensor, share: float) -> Tensor:
    """Cover a part of some (B, 3, S, S) training views with a plain patch or a piece of another
    view."""
    count, _, side, _ = pixels.shape
    device = pixels.device
    draw = torch.rand(6, count, 1, 1, 1, device=device)
    width, height = 0.15 + 0.3 * draw[0], 0.15 + 0.3 * draw[1]
    left, top = draw[2] * 1.2 - 0.2, draw[3] * 1.2 - 0.2
    place = torch.arange(side, device=device) / side
    x, y = place[None, None, None, :], place[None, None, :, None]
    covered = (x >= left) & (x < left + width) & (y >= top) & (y < top + height)
    covered = covered & (draw[4] < share)
    plain = 255 * torch.rand(count, 3, 1, 1, device=device)
    cover = torch.where(draw[5] < 0.5, plain, pixels.roll(1, 0))
    return torch.where(covered, cover, pixels)


def cover_with_hand(pixels: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Cover a part of some (B, 3, S, S) training views with skin in the shape of fingers or an arm,
    from any side; also returns which views, (B,) bool."""
    count, _, side, _ = pixels.shape
    device = pixels.device
    draw = torch.rand(11, count, 1, 1, device=device)
    place = (torch.arange(side, device=device) + 0.5) / side - 0.5
    angle = draw[0] * 2 * math.pi
    along = place * angle.cos() + place[:, None] * angle.sin()
    across = place[:, None] * angle.cos() - place * angle.sin()
    tip = 0.02 + 0.4 * draw[1] + 0.06 * torch.sin(18 * across + 6 * draw[2])
    phase = across / (0.07 + 0.16 * draw[3]) + draw[4]
    finger = (phase % 1 < 0.86) | (draw[5] > 0.6)
    narrow = (across - 0.5 * (draw[6] - 0.5)).abs() < 0.12 + 0.3 * draw[7]
    covered = (along > tip) & narrow & finger & (draw[8] < share)
    tone = torch.rand(count, 1, 1, 1, device=device) ** 0.7
    red, green = 75 + 150 * tone, 60 + 110 * tone
    blue = 0.55 * (95 + 70 * draw[9][:, None] * tone) + 40 * tone
    round_ = 1 + 0.3 * torch.cos(2 * math.pi * phase) - 0.5 * along * draw[10]
    grain = 1 + 0.03 * torch.randn(count, 1, side, side, device=device)
    skin = (torch.cat([blue, green, red], 1) * round_[:, None] * grain).clamp(0, 255)
    return torch.where(covered[:, None], skin, pixels), covered.float().mean((1, 2)) > HAND_AREA


def _uniform(like: Tensor, low: float, high: float) -> Tensor:
    return low + (high - low) * torch.rand_like(like)
