"""A transformer's blocks, whose attention and experts may be the same ones in every block."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dnal.models.widenet.mixture import Mixture, Single


class Attention(nn.Module):
    """Scaled dot products of every token with every other one, in several heads."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, there: Tensor | None = None) -> Tensor:
        """(N, T, width), and bool (N, T) which tokens may be looked at -> (N, T, width)."""
        q, k, v = (own(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for own in (self.query, self.key, self.value))
        mask = None if there is None else there[:, None, None]
        return self.out(F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class Encoder(nn.Module):
    """Blocks that begin with their norms, and a norm behind them.

    x + attention(norm(x)), then x + experts(norm(x)). With ``shared`` all blocks use one attention, one router and one
    set of experts, and with ``own_norms`` still two norms of their own each, by which one router sends the same token
    to other experts in another block.

    Args:
        layers: blocks. hidden: of each expert. experts: 1: a plain network without router.
        shared: the attention and experts are the same ones in every block. own_norms: the norms are not.

    Source: Xue et al., "Go Wider Instead of Deeper" (AAAI 2022), figure 1.
    """

    def __init__(
        self,
        *,
        width: int,
        layers: int,
        heads: int,
        hidden: int,
        experts: int = 4,
        shared: bool = True,
        own_norms: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        own, norms = 1 if shared else layers, layers if own_norms else 1
        self.layers = layers
        self.attentions = nn.ModuleList(Attention(width, heads) for _ in range(own))
        self.mixtures = nn.ModuleList(
            Single(width, hidden, dropout=dropout)
            if experts == 1
            else Mixture(width, hidden, experts=experts, chosen=min(2, experts), dropout=dropout)
            for _ in range(own)
        )
        self.before_attention = nn.ModuleList(nn.LayerNorm(width) for _ in range(norms))
        self.before_experts = nn.ModuleList(nn.LayerNorm(width) for _ in range(norms))
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, there: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Tokens (N, T, width) -> the same shape, and in training the sum of the blocks' balance losses."""
        losses = []
        for block in range(self.layers):
            attention, mixture, first, second = (
                kind[block % len(kind)]
                for kind in (self.attentions, self.mixtures, self.before_attention, self.before_experts)
            )
            x = x + self.dropout(attention(first(x), there))
            y, loss = mixture(second(x), there)
            x = x + self.dropout(y)
            losses.append(loss)
        known = [loss for loss in losses if loss is not None]
        return self.norm(x), torch.stack(known).sum() if known else None


def answer(logits: Tensor, loss: Tensor | None) -> Tensor | dict[str, Tensor]:
    """Logits alone, or in training with what joins the loss."""
    return logits if loss is None else {"logits": logits, "aux_loss": loss}
