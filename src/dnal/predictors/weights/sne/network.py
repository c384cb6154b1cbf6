"""The set encoder: chunks of weights, then layers, then the network, each a set."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnal.predictors.weights.sne.chunks import Chunks

KINDS = 2
PERIOD = 1e4
LEAST = 1e-3
"""Of a scale: smaller differences are near what rounding makes."""


class Attended(nn.Module):
    """MAB(X, Y) = LN(H + ReLU(H W)), H = LN(X W_q + attention of X W_q to Y): a block of a Set Transformer."""

    def __init__(self, of_x: int, of_y: int, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.pairs = nn.Linear(of_x, width), nn.Linear(of_y, 2 * width)
        self.out, self.norms = nn.Linear(width, width), nn.ModuleList(nn.LayerNorm(width) for _ in range(2))

    def forward(self, x: Tensor, y: Tensor, there: Tensor) -> Tensor:
        """Args:
            x: (B, n, of_x). y: (B, m, of_y). there: (B, m), which of ``y`` are no padding.
        """  # fmt: skip
        q = self.query(x)
        asks, keys, values = (
            each.unflatten(-1, (self.heads, -1)).transpose(1, 2) for each in (q, *self.pairs(y).chunk(2, -1))
        )
        heard = F.scaled_dot_product_attention(asks, keys, values, attn_mask=there[:, None, None])
        found = self.norms[0](q + heard.transpose(1, 2).flatten(2))
        answer: Tensor = self.norms[1](found + self.out(found).relu())
        return answer


class SetEncoder(nn.Module):
    """Two blocks in which a set attends to itself, then one seed that attends to it: a vector of each set."""

    def __init__(self, numbers: int, width: int, heads: int) -> None:
        super().__init__()
        self.own = nn.ModuleList([Attended(numbers, numbers, width, heads), Attended(width, width, width, heads)])
        self.seed = nn.Parameter(torch.randn(1, 1, width))
        self.pooled = Attended(width, width, width, heads)

    def forward(self, x: Tensor, there: Tensor, more: Tensor | None = None) -> Tensor:
        """Args:
            x: (B, n, numbers). there: (B, n). more: (B, 1, width), joins every element before the seed attends.

        Returns:
            (B, width).
        """  # fmt: skip
        for block in self.own:
            x = block(x, x, there)
        if more is not None:
            x = x + more
        found: Tensor = self.pooled(self.seed.expand(len(x), -1, -1), x, there)
        return found.squeeze(1)


class SetEncodingNetwork(nn.Module):
    """A logit of a network from its chunks.

    Args:
        width, heads: of attention. places: also say which piece of its neuron a chunk is.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, width: int, heads: int, dropout: float, *, places: bool) -> None:
        super().__init__()
        self.width, self.places = width, places
        self.register_buffer("shift", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))
        self.kind = nn.Embedding(KINDS, width)
        self.chunks, self.layers, self.whole = (SetEncoder(own, width, heads) for own in (1, width, width))
        self.readout = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, 1)
        )

    def begin(self, chunks: Chunks) -> None:
        """Puts what networks differ in on a scale of 1 for the readout: new layers, each with a norm, leave all vectors
        nearly the same, and from there a training hardly starts."""
        with torch.no_grad():
            found = self.encoded(chunks)
            self.shift.copy_(found.mean(0))
            self.scale.copy_(found.std(0, correction=0).clamp(min=LEAST))

    def forward(self, chunks: Chunks) -> Tensor:
        """(B,)."""
        found: Tensor = self.readout((self.encoded(chunks) - self.shift) / self.scale)
        return found.squeeze(-1)

    def encoded(self, chunks: Chunks) -> Tensor:
        """The vectors of the networks, (B, width)."""
        of_layer = self.kind(chunks.kind) + sinusoids(chunks.level, self.width)
        more = of_layer[chunks.owner]
        if self.places:
            more = more + sinusoids(chunks.place, self.width)
        there = torch.arange(chunks.values.shape[1]) < chunks.lengths[:, None]
        flat = self.chunks(chunks.values[..., None], there, more[:, None]) + of_layer[chunks.owner]
        layers = _rows(flat, chunks.owner, chunks.within, len(chunks.kind))
        encoded = self.layers(*layers) + of_layer
        networks = _rows(encoded, chunks.network, chunks.level, len(chunks.depth))
        found: Tensor = self.whole(*networks)
        return found


def sinusoids(places: Tensor, width: int) -> Tensor:
    """Sines and cosines of places (N,), of periods from 2 pi to 10,000 times as much: (N, width).

    Examples:
        >>> sinusoids(torch.tensor([0]), 4).tolist()
        [[0.0, 0.0, 1.0, 1.0]]
    """
    half = -(-width // 2)
    periods = torch.exp(-math.log(PERIOD) * torch.arange(half) / half)
    angles = places[:, None] * periods
    return torch.cat([angles.sin(), angles.cos()], -1)[:, :width]


def _rows(flat: Tensor, owner: Tensor, within: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """Vectors (Q, width) as sets (number, most, width), with which places are filled (number, most)."""
    most = int(within.max()) + 1
    found = flat.new_zeros(number, most, flat.shape[1]).index_put((owner, within), flat)
    there = torch.zeros(number, most, dtype=torch.bool).index_put((owner, within), torch.tensor(True))
    return found, there
