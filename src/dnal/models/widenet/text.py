"""WideNet for the class of a text, with a factorised embedding."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dnal.models.registry import register
from dnal.models.widenet.encoder import Encoder, answer


class TextWideNet(nn.Module):
    """Narrow embeddings of words, a linear layer to the width of the encoder, learnt positions, an :class:`Encoder`,
    the mean over the text, a linear layer with tanh, and a linear layer.

    (N, L) numbers of tokens, and a mask (N, L) that is 0 at the padding -> logits (N, classes); in training a mapping
    with them as ``logits`` and the balance loss of all blocks as ``aux_loss``. Padding goes to no expert.

    Args:
        embedding: width of the embeddings. options: of the encoder.

    Source: Xue et al., "Go Wider Instead of Deeper" (AAAI 2022); the embedding: Lan et al., "ALBERT" (2020).
    """

    def __init__(
        self,
        *,
        tokens: int,
        length: int,
        classes: int,
        width: int,
        embedding: int,
        dropout: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__()
        self.tokens = nn.Embedding(tokens, embedding)
        self.widening = nn.Linear(embedding, width)
        self.positions = nn.Parameter(torch.empty(length, width))
        self.dropout = nn.Dropout(dropout)
        self.encoder = Encoder(width=width, dropout=dropout, **options)
        self.representation = nn.Linear(width, width)
        self.head = nn.Linear(width, classes)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws the positions again: what belongs to no layer."""
        nn.init.normal_(self.positions, std=0.02)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor | dict[str, Tensor]:
        # The first place counts in a text without words too: attention to nothing is no number.
        there = (attention_mask != 0) | (torch.arange(input_ids.size(1), device=input_ids.device) == 0)
        x = self.widening(self.tokens(input_ids)) + self.positions[: input_ids.size(1)]
        x, loss = self.encoder(self.dropout(x), there)
        count = there.unsqueeze(-1).to(x.dtype)
        mean = (x * count).sum(1) / count.sum(1)
        return answer(self.head(self.representation(mean).tanh()), loss)


@register("widenet/text", input_shape=(64, 4096), classes=2, kind="text")
def text(*, classes: int, length: int, tokens: int) -> TextWideNet:
    """Six blocks of width 64 with 4 heads and 4 experts of 128, and embeddings of 32."""
    return TextWideNet(
        tokens=tokens, length=length, classes=classes, width=64, embedding=32, layers=6, heads=4, hidden=128
    )  # fmt: skip
