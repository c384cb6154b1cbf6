"""NAR-Former's network (arXiv 2211.08024): a transformer over the tokens of a graph, and fusion into one token."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnal.predictors.tokens import WIDTH

QUERIES = (4, 2, 1)
"""Learnt tokens into which the sequence is fused, stage by stage."""


class Attention(nn.Module):
    """Attention with several heads, and a mask of what may be read.

    Args:
        width: of the tokens. heads: how many. project: whether queries have a layer of their own.
    """

    def __init__(self, width: int, heads: int, *, project: bool = True) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width) if project else None
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, query: Tensor, memory: Tensor, mask: Tensor | None = None) -> Tensor:
        """
        Args:
            query: (B, Q, D). memory: (B, L, D). mask: (B, L) bool, True where a token is there.
        """
        asked = query if self.query is None else self.query(query)
        key, value = self.key_value(memory).chunk(2, -1)
        q, k, v = (self._heads(one) for one in (asked, key, value))
        found = F.scaled_dot_product_attention(q, k, v, None if mask is None else mask[:, None, None])
        joined: Tensor = self.out(found.transpose(1, 2).flatten(2))
        return joined

    def _heads(self, x: Tensor) -> Tensor:
        parts: Tensor = x.unflatten(-1, (self.heads, -1))
        return parts.transpose(1, 2)


class FeedForward(nn.Module):
    """x + FFN(LN(x))."""

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.into, self.back = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = self.dropout(self.back(self.dropout(F.relu(self.into(self.norm(x))))))
        return x + added


class Block(nn.Module):
    """x + attention(LN(x)), then the feed-forward part."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.dropout = nn.Dropout(dropout)
        self.feed = FeedForward(width, hidden, dropout)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        normed = self.norm(x)
        found: Tensor = self.feed(x + self.dropout(self.attention(normed, normed, mask)))
        return found


class Fusion(nn.Module):
    """Learnt tokens read a sequence: no residual, since shapes differ, and no layer for the queries."""

    def __init__(self, queries: int, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(queries, width))
        self.norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads, project=False)
        self.dropout = nn.Dropout(dropout)
        self.feed = FeedForward(width, hidden, dropout)

    def forward(self, memory: Tensor, mask: Tensor | None) -> Tensor:
        asked = self.queries.expand(len(memory), -1, -1)
        found: Tensor = self.feed(self.dropout(self.attention(asked, self.norm(memory), mask)))
        return found


class Reading(nn.Module):
    """Fused tokens read the whole sequence again, before they are fused further."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.norm, self.norm_memory = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.dropout = nn.Dropout(dropout)
        self.feed = FeedForward(width, hidden, dropout)

    def forward(self, fused: Tensor, memory: Tensor, mask: Tensor | None) -> Tensor:
        read = self.attention(self.norm(fused), self.norm_memory(memory), mask)
        found: Tensor = self.feed(self.dropout(read))
        return found


class NarFormerNetwork(nn.Module):
    """Tokens in, a number between 0 and 1 out.

    Args:
        width: of the transformer; where it is not that of the tokens, a linear layer comes first, which is ours.
        heads, depth, hidden: of its blocks, the last one that of the feed-forward parts. dropout: the share.
    """

    def __init__(self, width: int, heads: int, depth: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.project = nn.Identity() if width == WIDTH else nn.Linear(WIDTH, width)
        self.depth = nn.Linear(WIDTH, width)
        self.blocks = nn.ModuleList(Block(width, heads, hidden, dropout) for _ in range(depth))
        self.fusions = nn.ModuleList(Fusion(queries, width, heads, hidden, dropout) for queries in QUERIES)
        self.readings = nn.ModuleList(Reading(width, heads, hidden, dropout) for _ in QUERIES[1:])
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 1)

    def forward(self, tokens: Tensor, depth: Tensor, mask: Tensor | None = None) -> Tensor:
        """
        Args:
            tokens: (B, L, 192). depth: (B, 192), the code of the number of nodes.
            mask: (B, L) bool, True where a token is there; None where all are.

        Returns:
            (B,).
        """
        first = F.relu(self.depth(depth))[:, None]
        memory = torch.cat([first, self.project(tokens)], 1)
        if mask is not None:
            mask = F.pad(mask, (1, 0), value=True)
        for block in self.blocks:
            memory = block(memory, mask)
        fused = self.fusions[0](memory, mask)
        for reading, fusion in zip(self.readings, self.fusions[1:], strict=True):
            fused = fusion(reading(fused, memory, mask), None)
        found: Tensor = torch.sigmoid(self.head(self.norm(fused[:, 0]))).squeeze(-1)
        return found
