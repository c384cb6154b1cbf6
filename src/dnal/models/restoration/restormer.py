"""The transformer block of Restormer: attention between channels, whose cost grows with the pixels and not with their
square, and a gated feed-forward layer.

Source: Zamir et al., "Restormer: Efficient Transformer for High-Resolution Image Restoration" (arXiv 2111.09881),
equations 1 to 3. What is written here of its sizes is recalled, and was not compared with its code.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

EXPANSION = 2.66
"""Hidden channels of the feed-forward layer over its own; recalled."""


class ChannelNorm(nn.LayerNorm):
    """A layer norm over the channels of each pixel: (N, C, H, W) -> the same."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class ChannelAttention(nn.Module):
    """Attention of the channels of a head to one another, over all pixels: (N, C, H, W) -> the same.

    Queries and keys are rows of H W numbers of unit length; each head learns its temperature, by which their products
    are multiplied.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        # One number a head, and of one dimension: it is a scale, as those of norms are, and no weight to be masked.
        self.temperature = nn.Parameter(torch.ones(heads))
        self.into = nn.Conv2d(channels, 3 * channels, 1, bias=False)
        self.local = nn.Conv2d(3 * channels, 3 * channels, 3, padding=1, groups=3 * channels, bias=False)
        self.out = nn.Conv2d(channels, channels, 1, bias=False)

    def reset_parameters(self) -> None:
        nn.init.ones_(self.temperature)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        queries, keys, values = (
            each.unflatten(1, (self.heads, -1)).flatten(3) for each in self.local(self.into(x)).chunk(3, dim=1)
        )
        queries, keys = F.normalize(queries, dim=-1), F.normalize(keys, dim=-1)
        scores = queries @ keys.transpose(-2, -1) * self.temperature.view(-1, 1, 1)
        mixed = scores.softmax(dim=-1) @ values
        return self.out(mixed.flatten(1, 2).unflatten(2, (height, width)))  # type: ignore[no-any-return]


class GatedFeedForward(nn.Module):
    """Two sets of hidden channels that see their neighbours, one of which, through GELU, multiplies the other."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = int(channels * EXPANSION)
        self.into = nn.Conv2d(channels, 2 * hidden, 1, bias=False)
        self.local = nn.Conv2d(2 * hidden, 2 * hidden, 3, padding=1, groups=2 * hidden, bias=False)
        self.out = nn.Conv2d(hidden, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, passed = self.local(self.into(x)).chunk(2, dim=1)
        return self.out(F.gelu(gate) * passed)  # type: ignore[no-any-return]


class Block(nn.Module):
    """Channel attention and a gated feed-forward layer, each behind a norm and beside a skip."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.norm_before_attention = ChannelNorm(channels)
        self.attention = ChannelAttention(channels, heads)
        self.norm_before_feed_forward = ChannelNorm(channels)
        self.feed_forward = GatedFeedForward(channels)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm_before_attention(x))
        return x + self.feed_forward(self.norm_before_feed_forward(x))  # type: ignore[no-any-return]


def blocks(channels: int, heads: int, count: int) -> nn.Sequential:
    """So many blocks in a row."""
    return nn.Sequential(*(Block(channels, heads) for _ in range(count)))


def halved(channels: int) -> nn.Sequential:
    """Half the height and width, twice the channels."""
    return nn.Sequential(nn.Conv2d(channels, channels // 2, 3, padding=1, bias=False), nn.PixelUnshuffle(2))


def doubled(channels: int) -> nn.Sequential:
    """Twice the height and width, half the channels."""
    return nn.Sequential(nn.Conv2d(channels, 2 * channels, 3, padding=1, bias=False), nn.PixelShuffle(2))
