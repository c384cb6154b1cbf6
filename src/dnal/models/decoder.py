"""A small decoder for language as they are built today: RMS norms, rotary positions, grouped queries, gated MLPs, and
one table for the tokens that come in and those that are told."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnal.models.registry import register

WIDTH, LAYERS, QUERIES, KEYS, HEAD, HIDDEN = 64, 2, 4, 2, 16, 160
"""Channels of the stream; layers; heads of queries, and of the keys and values that they share; channels of a head, and
of an MLP."""
EPS = 1e-6
BASE = 10000.0
"""Positions turn by angles from one to one over this."""


class Table(nn.Embedding):
    """Tokens, drawn small: it also multiplies what comes out."""

    def reset_parameters(self) -> None:
        nn.init.normal_(self.weight, std=0.02)


def rotated(x: Tensor) -> Tensor:
    """Rotary positions (arXiv 2104.09864): the two halves of each head's channels (N, heads, L, channels) are turned
    against each other by the place in the text."""
    half = x.size(-1) // 2
    rates = BASE ** (-torch.arange(half, device=x.device, dtype=torch.float32) / half)
    angles = torch.arange(x.size(-2), device=x.device, dtype=torch.float32)[:, None] * rates
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    first, second = x.chunk(2, -1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), -1)


class Attention(nn.Module):
    """Each place looks at those before it and at itself, (N, L, channels) -> the same."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.out = (
            nn.Linear(*sizes, bias=False) for sizes in ((WIDTH, QUERIES * HEAD), (QUERIES * HEAD, WIDTH))
        )
        self.k, self.v = (nn.Linear(WIDTH, KEYS * HEAD, bias=False) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (layer(x).unflatten(-1, (-1, HEAD)).transpose(1, 2) for layer in (self.q, self.k, self.v))
        k, v = (each.repeat_interleave(QUERIES // KEYS, 1) for each in (rotated(k), v))
        seen = F.scaled_dot_product_attention(rotated(q), k, v, is_causal=True)
        return self.out(seen.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class Layer(nn.Module):
    """Attention and a gated MLP (SwiGLU, arXiv 2002.05202), norms first."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.RMSNorm(WIDTH, EPS), nn.RMSNorm(WIDTH, EPS)
        self.attention = Attention()
        self.gate, self.up = (nn.Linear(WIDTH, HIDDEN, bias=False) for _ in range(2))
        self.down = nn.Linear(HIDDEN, WIDTH, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        y = self.norm2(x)
        return x + self.down(F.silu(self.gate(y)) * self.up(y))  # type: ignore[no-any-return]


class Decoder(nn.Module):
    """(N, L) numbers of tokens -> logits (N, classes, L) of what follows each. Where that is a token too, one table is
    for both. The padding of a text stands behind it, where nothing looks: the mask (N, L) changes nothing."""

    def __init__(self, tokens: int, classes: int) -> None:
        super().__init__()
        self.tokens = Table(tokens, WIDTH)
        self.layers = nn.Sequential(*(Layer() for _ in range(LAYERS)))
        self.norm = nn.RMSNorm(WIDTH, EPS)
        self.head = None if classes == tokens else nn.Linear(WIDTH, classes, bias=False)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        weight = self.tokens.weight if self.head is None else self.head.weight
        return F.linear(self.norm(self.layers(self.tokens(input_ids))), weight).transpose(1, 2)


@register("decoder/small", input_shape=(64, 257), classes=257, kind="text")
def small(*, classes: int, tokens: int) -> Decoder:
    """Two layers of width 64, 4 heads of queries over 2 of keys and values, for the token after each of a text."""
    return Decoder(tokens, classes)
