"""What spoils clean images: noise, streaks as of rain, haze. Pure functions of images (N, C, H, W) from 0 to 1 and a
generator, from which every image draws for itself.

Noise is that of image restoration, whose sigma counts in grey levels of 256. Streaks and haze are of a few lines, after
the models that synthetic rain and haze are made by; they are not those of Rain100L and RESIDE.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

LEVELS = 255
DROPS = 0.015
"""The share of pixels at which a streak may be."""
LONGEST = 15
"""Pixels of a streak."""
STEEPEST = math.pi / 6
"""From the vertical."""
HAZE = (0.4, 0.8)
"""What passes through it."""
AIR = (0.8, 1.0)
"""The brightness of haze."""

Degradation = Callable[[Tensor, torch.Generator], Tensor]


def gaussian_noise(clean: Tensor, sigma: float, draw: torch.Generator) -> Tensor:
    """Noise of this deviation, in grey levels of 256, added to every number; what is beyond black and white is cut."""
    return (clean + sigma / LEVELS * torch.randn(clean.shape, generator=draw)).clamp(0, 1)


def streaks(clean: Tensor, draw: torch.Generator) -> Tensor:
    """Bright lines of one direction, as of rain: drops at random pixels, each as bright as it happens to be, drawn out
    along a line of up to 15 pixels, and added to all channels."""
    number, _, height, width = clean.shape
    drops = torch.rand((number, height, width), generator=draw) < DROPS
    bright = torch.where(drops, 0.5 + 0.5 * torch.rand((number, height, width), generator=draw), 0.0)
    tilt = STEEPEST * (2 * torch.rand(number, generator=draw) - 1)
    length = 7 + (LONGEST - 7) * torch.rand(number, generator=draw)
    drawn = F.conv2d(bright[None], _lines(tilt, length)[:, None], padding=LONGEST // 2, groups=number)[0]
    return (clean + drawn[:, None]).clamp(0, 1)


def _lines(tilt: Tensor, length: Tensor) -> Tensor:
    """Lines through the middle of (N, LONGEST, LONGEST), which fade over a pixel beside them and at their ends."""
    places = torch.arange(LONGEST) - LONGEST // 2
    down, right = torch.meshgrid(places, places, indexing="ij")
    sine, cosine = tilt.sin().view(-1, 1, 1), tilt.cos().view(-1, 1, 1)
    along, beside = (down * cosine + right * sine).abs(), (right * cosine - down * sine).abs()
    return (1 - beside).clamp(0, 1) * (length.view(-1, 1, 1) / 2 + 0.5 - along).clamp(0, 1)


def haze(clean: Tensor, draw: torch.Generator) -> Tensor:
    """What passes of the image, 40 to 80 %, and the brightness of the air for the rest: clean t + A (1 - t), one t and
    one A an image."""
    passes, air = (
        low + (high - low) * torch.rand((len(clean), 1, 1, 1), generator=draw) for low, high in (HAZE, AIR)
    )  # fmt: skip
    return clean * passes + air * (1 - passes)


def _noise(sigma: float) -> Degradation:
    return lambda clean, draw: gaussian_noise(clean, sigma, draw)


DEGRADATIONS: dict[str, Degradation] = {
    "noise15": _noise(15), "noise25": _noise(25), "noise50": _noise(50), "streaks": streaks, "haze": haze,
}  # fmt: skip
"""By their names. A new one is a function, and a line here."""
