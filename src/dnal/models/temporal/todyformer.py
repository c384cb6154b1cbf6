"""Todyformer: graph attention within patches of events, and attention of each node over its patches, in turn."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dnal.models.registry import register
from dnal.models.temporal.patches import Patches

FASTEST = 1000.0
"""Turns of the fastest cosine within a window, at the start."""
MOST = 15.0
"""The size of a logit of attention; so no maximum is needed before the exponential."""


class TimeEncoding(nn.Module):
    """cos(w t + b) of times (...), with learnt w and b: (..., width).

    Source: Kazemi et al., "Time2Vec" (2019), without its linear part.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.speed, self.shift = nn.Parameter(torch.empty(width)), nn.Parameter(torch.empty(width))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Speeds from 1 to ``FASTEST`` in equal ratios."""
        with torch.no_grad():
            self.speed.copy_(torch.logspace(0, math.log10(FASTEST), self.width))
            self.shift.zero_()

    def forward(self, times: Tensor) -> Tensor:
        return (times[..., None] * self.speed + self.shift).cos()


class Local(nn.Module):
    """Attention of each token over the messages of the events of its patch, and a network of each token.

    A message is what the other token is, and when and how the event was; the softmax is over a token's messages.
    """

    def __init__(self, width: int, heads: int, features: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.key, self.value = (nn.Linear(width + features, width) for _ in range(2))
        self.out = nn.Linear(width, width)
        self.feed = _feed(width, dropout)

    def forward(self, x: Tensor, messages: Tensor, patches: Patches) -> Tensor:
        """Tokens (T, width) and what is said of each message (2 B W, features) -> (T, width)."""
        normed = self.norm(x)
        sent = torch.cat([normed.index_select(0, patches.source), messages], 1)
        q = self.query(normed).index_select(0, patches.target).unflatten(1, (self.heads, -1))
        k, v = (own(sent).unflatten(1, (self.heads, -1)) for own in (self.key, self.value))
        weight = ((q * k).sum(2, keepdim=True) / math.sqrt(q.size(2))).clamp(-MOST, MOST).exp()
        total = _sums(weight, patches.target, x.size(0))
        found = _sums(weight * v, patches.target, x.size(0)) / total.clamp(min=1e-12)
        x = x + self.out(found.flatten(1))
        return x + self.feed(x)  # type: ignore[no-any-return]


class Whole(nn.Module):
    """Attention of each node over its own tokens in all patches, and a network of each token."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)
        self.feed = _feed(width, dropout)

    def forward(self, x: Tensor, places: Tensor, patches: Patches) -> Tensor:
        """Tokens (T, width) and the encoding of each one's patch (T, width) -> (T, width)."""
        packed = patches.pack(self.norm(x) + places)
        q, k, v = (
            own(packed).unflatten(2, (self.heads, -1)).transpose(1, 2) for own in (self.query, self.key, self.value)
        )
        # Places without a token are looked at by none; what stands there is not unpacked.
        mask = patches.there[:, None, None]
        found = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)
        x = x + patches.unpack(self.out(found))
        return x + self.feed(x)  # type: ignore[no-any-return]


class Todyformer(nn.Module):
    """Which pairs of nodes have an event next, from a window of events before.

    The window is cut into patches of equal numbers of events. A token is a node in a patch. Blocks of local attention
    within the patches (:class:`Local`) and of attention of each node over its patches (:class:`Whole`) alternate; what
    is known of a node is the mean of its tokens, or the last one. A node starts as a fixed random vector, so that
    nodes that no training event has are nodes too.

    Events (B, W, 2) of whole numbers below ``nodes``, in the order of time; their ages (B, W), from 0, now, to 1, the
    first one; what else is known of them, ``features`` (B, W, features); pairs (B, Q, 2) -> logits (B, classes, Q): no
    event, an event.

    Args:
        width: of tokens. blocks: of both kinds of attention. patches: of a window. features: of an event.
        local, whole: whether blocks have local attention, and attention over the patches. readout: of the tokens.

    Source: Biparva et al., "Todyformer" (2024, arXiv 2402.05944). Its sizes were not published in what was read; the
    product of both nodes in the last layers and the fixed random vectors are ours.
    """

    identity: Tensor

    def __init__(
        self,
        *,
        nodes: int,
        classes: int = 2,
        width: int = 64,
        heads: int = 2,
        blocks: int = 2,
        patches: int = 8,
        features: int = 3,
        local: bool = True,
        whole: bool = True,
        readout: Literal["mean", "last"] = "mean",
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.patches, self.readout = patches, readout
        self.register_buffer("identity", torch.randn(nodes, width) / math.sqrt(width))
        self.time = TimeEncoding(width // 2)
        said = width // 2 + features
        self.start = nn.Linear(said, width)
        self.place = nn.Linear(width // 2, width)
        self.local = nn.ModuleList(Local(width, heads, said, dropout) for _ in range(blocks if local else 0))
        self.whole = nn.ModuleList(Whole(width, heads, dropout) for _ in range(blocks if whole else 0))
        self.blocks = blocks
        self.norm = nn.LayerNorm(width)
        self.decoder = nn.Sequential(
            nn.Linear(3 * width, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, classes)
        )

    def forward(self, events: Tensor, ages: Tensor, features: Tensor, pairs: Tensor) -> Tensor:
        patches = Patches.of(events, self.patches, len(self.identity))
        sequences = self.sequences(patches, ages, features)
        row, known = patches.find(pairs)
        own = self.identity[pairs]
        ends = self.norm(torch.where(known[..., None], sequences[row], own))
        one, other = ends.unbind(2)
        return self.decoder(torch.cat([one, other, one * other], -1)).transpose(1, 2)  # type: ignore[no-any-return]

    def sequences(self, patches: Patches, ages: Tensor, features: Tensor) -> Tensor:
        """What is known of each node of the windows, (U, width)."""
        said = torch.cat([self.time(ages), features], -1).flatten(0, 1).repeat(2, 1)
        ones = torch.ones_like(said[:, :1])
        number = _sums(ones, patches.target, patches.node.size(0)).clamp(min=1)  # padding has none
        incident = _sums(said, patches.target, patches.node.size(0)) / number
        x = self.identity[patches.node] + self.start(incident)
        # The age of a patch is that of its last event.
        ends = (
            torch.arange(1, patches.count + 1, device=ages.device) * ages.size(1) + patches.count - 1
        ) // patches.count - 1
        newest = ages[:, ends].flatten()
        window = (patches.rows[patches.place // patches.count] // patches.nodes).clamp(max=ages.size(0) - 1)
        places = self.place(self.time(newest[window * patches.count + patches.place % patches.count]))
        for block in range(self.blocks):
            if len(self.local):
                x = self.local[block](x, said, patches)
            if len(self.whole):
                x = self.whole[block](x, places, patches)
        packed, there = patches.pack(x), patches.there
        if self.readout == "last":
            last = (there * torch.arange(1, patches.count + 1, device=there.device)).argmax(1)
            return packed[torch.arange(last.size(0), device=last.device), last]
        return packed.sum(1) / there.sum(1, keepdim=True).clamp(min=1)


@register("todyformer", input_shape=(1900, 256, 100), classes=2, kind="events")
def todyformer(*, classes: int, nodes: int) -> Todyformer:
    """Width 64, 2 heads, 2 blocks of each kind of attention and 8 patches; our sizes, as none were published."""
    return Todyformer(nodes=nodes, classes=classes)


def _feed(width: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Dropout(dropout), nn.Linear(2 * width, width)
    )  # fmt: skip


def _sums(values: Tensor, target: Tensor, count: int) -> Tensor:
    """The sum of the values (E, ...) of each target, (count, ...)."""
    return values.new_zeros(count, *values.shape[1:]).index_add(0, target, values)
