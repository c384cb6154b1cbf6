"""WideNet for images, in the paper's three sizes and two small ones."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dnal.models.registry import register
from dnal.models.widenet.encoder import Encoder, answer


class WideNet(nn.Module):
    """Patches as tokens, a class token among them, learnt positions, an :class:`Encoder`, the mean over all tokens, a
    linear layer with tanh, and a linear layer.

    (N, C, H, W) -> logits (N, classes); in training a mapping with them as ``logits`` and the balance loss of all
    blocks as ``aux_loss``, which the default loss adds. Images of another size than ``side`` get positions in between.

    Args:
        side: of the images whose positions are learnt. patch: side of a patch. options: of the encoder.

    Source: Xue et al., "Go Wider Instead of Deeper" (AAAI 2022).
    """

    def __init__(
        self, *, classes: int, in_channels: int, side: int, patch: int, width: int, dropout: float = 0.0, **options: Any
    ) -> None:
        super().__init__()
        self.patches = nn.Conv2d(in_channels, width, patch, patch)
        self.grid = side // patch
        self.token = nn.Parameter(torch.empty(1, 1, width))
        self.positions = nn.Parameter(torch.empty(1, 1 + self.grid**2, width))
        self.dropout = nn.Dropout(dropout)
        self.encoder = Encoder(width=width, dropout=dropout, **options)
        self.representation = nn.Linear(width, width)
        self.head = nn.Linear(width, classes)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws the class token and the positions again: what belongs to no layer."""
        nn.init.normal_(self.token, std=0.02)
        nn.init.normal_(self.positions, std=0.02)

    def forward(self, x: Tensor) -> Tensor | dict[str, Tensor]:
        patches = self.patches(x)
        tokens = patches.flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(x), -1, -1), tokens], 1)
        tokens, loss = self.encoder(self.dropout(tokens + self._places(*patches.shape[2:])))
        return answer(self.head(self.representation(tokens.mean(1)).tanh()), loss)

    def _places(self, height: int, width: int) -> Tensor:
        if (height, width) == (self.grid, self.grid):
            return self.positions
        grid = self.positions[:, 1:].transpose(1, 2).unflatten(2, (self.grid, self.grid))
        grid = F.interpolate(grid, (height, width), mode="bicubic", align_corners=False)
        return torch.cat([self.positions[:, :1], grid.flatten(2).transpose(1, 2)], 1)


@register("widenet/tiny", input_shape=(1, 8, 8), least_side=4)
def tiny(*, classes: int, in_channels: int) -> WideNet:
    """Six blocks of width 64 with 4 heads and 4 experts of 128, on patches of 2x2."""
    return WideNet(
        classes=classes, in_channels=in_channels, side=8, patch=2, width=64, layers=6, heads=4, hidden=128
    )  # fmt: skip


@register("widenet/small", input_shape=(3, 32, 32), least_side=8)
def small(*, classes: int, in_channels: int) -> WideNet:
    """Eight blocks of width 192 with 6 heads and 4 experts of 384, on patches of 4x4."""
    return WideNet(
        classes=classes, in_channels=in_channels, side=32, patch=4, width=192, layers=8, heads=6, hidden=384
    )  # fmt: skip


@register("widenet/base", input_shape=(3, 224, 224), classes=1000, least_side=16)
def base(*, classes: int, in_channels: int) -> WideNet:
    """The paper's WideNet-B: 12 blocks of width 768, 12 heads, 4 experts of 4096, on patches of 16x16."""
    return _of_paper(classes, in_channels, width=768, layers=12, heads=12, hidden=4096)


@register("widenet/large", input_shape=(3, 224, 224), classes=1000, least_side=16)
def large(*, classes: int, in_channels: int) -> WideNet:
    """The paper's WideNet-L: 24 blocks of width 1024, 16 heads, 4 experts of 4096, on patches of 16x16."""
    return _of_paper(classes, in_channels, width=1024, layers=24, heads=16, hidden=4096)


@register("widenet/huge", input_shape=(3, 224, 224), classes=1000, least_side=16)
def huge(*, classes: int, in_channels: int) -> WideNet:
    """The paper's WideNet-H: 32 blocks of width 1280, 16 heads, 4 experts of 5120, on patches of 16x16."""
    return _of_paper(classes, in_channels, width=1280, layers=32, heads=16, hidden=5120)


def _of_paper(classes: int, in_channels: int, *, width: int, layers: int, heads: int, hidden: int) -> WideNet:
    return WideNet(
        classes=classes, in_channels=in_channels, side=224, patch=16, width=width, layers=layers, heads=heads,
        hidden=hidden, dropout=0.1,
    )  # fmt: skip
