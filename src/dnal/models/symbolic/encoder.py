"""Small images as features: patches, convolutions with residuals, attention, and the mean."""

from __future__ import annotations

import torch
from torch import Tensor, nn

GRID = 8
"""Patches along each side."""


class Residual(nn.Module):
    """x plus a 3x3 convolution, a norm over all of it, and a 1x1 convolution on both sides of a GELU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.spatial = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm = nn.GroupNorm(1, width)
        self.first = nn.Conv2d(width, width, 1, bias=False)
        self.second = nn.Conv2d(width, width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(nn.functional.gelu(self.first(self.norm(self.spatial(x)))))  # type: ignore[no-any-return]


class PatchEncoder(nn.Module):
    """Grey images (B, 1, H, W) -> features (B, features).

    Args:
        side: H and W, a multiple of 8: the image becomes 8 x 8 patches. width: of each. depth: residuals with
            convolutions; one layer of attention follows.

    The form is that of the encoder in the authors' code of Whitehouse, "Symbolic Synthesis of Neural Networks" (2023),
    with learnt places, one layer of attention instead of two, and one mean and variance for each image in the norms.
    """

    def __init__(self, *, side: int, features: int, width: int = 32, depth: int = 2) -> None:
        super().__init__()
        self.patches = nn.PixelUnshuffle(side // GRID)
        self.enter = nn.Conv2d((side // GRID) ** 2, width, 1)
        self.residuals = nn.Sequential(*(Residual(width) for _ in range(depth)))
        self.places = nn.Parameter(0.02 * torch.randn(1, GRID * GRID, width))
        self.attention = nn.TransformerEncoderLayer(
            width, 4, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.leave = nn.Linear(width, features)

    def forward(self, images: Tensor) -> Tensor:
        x = self.residuals(self.enter(self.patches(images)))
        x = self.attention(x.flatten(2).transpose(1, 2) + self.places)
        return self.leave(x.mean(1))  # type: ignore[no-any-return]
