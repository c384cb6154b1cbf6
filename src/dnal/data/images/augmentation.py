"""Augmentation of whole batches: random shifts and horizontal flips, all images at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Augmentation:
    """``pad``: images are padded by so many black pixels and cropped back at random; ``flip``: half are mirrored."""

    pad: int = 0
    flip: bool = False

    def scaled(self, old_side: int, new_side: int) -> Augmentation:
        """The same relative shift for images of another side."""
        pad = max(1, round(self.pad * new_side / old_side)) if self.pad else 0
        return Augmentation(pad, self.flip)


def shift_and_flip(x: Tensor, down: Tensor, right: Tensor, flip: Tensor, pad: int) -> Tensor:
    """Crop (B, C, H, W) images out of their padding and mirror some.

    Args:
        x: images of any type; the padding is 0.
        down, right: int64 (B,), the crop's corner in the padded image, 0 .. 2 * pad (``pad`` is no shift).
        flip: bool (B,), which images are mirrored left to right.
        pad: pixels on each side.
    """
    n, channels, height, width = x.shape
    padded = F.pad(x, (pad, pad, pad, pad))
    tall, wide = padded.shape[2:]
    # A row of a crop is a run of pixels in the padded batch, so one selection of runs makes all crops at once.
    runs = padded.flatten().unfold(0, width, 1)
    images = torch.arange(n * channels).view(n, channels, 1) * tall
    rows = images + down[:, None, None] + torch.arange(height)
    crops = runs.index_select(0, (rows * wide + right[:, None, None]).flatten()).view(n, channels, height, width)
    return torch.cat((crops, crops.flip(-1))).index_select(0, torch.arange(n) + n * flip)


def augment(x: Tensor, augmentation: Augmentation, generator: torch.Generator) -> Tensor:
    """Draw shifts and flips for a batch (B, C, H, W) from ``generator`` and apply them."""
    n, span = len(x), 2 * augmentation.pad + 1
    down = torch.randint(span, (n,), generator=generator)
    right = torch.randint(span, (n,), generator=generator)
    flip = torch.rand(n, generator=generator) < (0.5 if augmentation.flip else 0.0)
    return shift_and_flip(x, down, right, flip, augmentation.pad)
