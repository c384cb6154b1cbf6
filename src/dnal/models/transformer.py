"""Small transformers of torch's own encoder for text: one for its class, one for the token after each."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dnal.models.registry import register

WIDTH, HEADS, LAYERS = 64, 4, 2


class Transformer(nn.Module):
    """Embedding, learnt positions, an encoder whose layers begin with their norms, and one linear layer.

    (N, L) numbers of tokens, and a mask (N, L) that is 0 at the padding -> logits (N, classes) of the mean over the
    text; with ``causal``, where a place sees those before it alone, logits (N, classes, L).
    """

    def __init__(self, *, tokens: int, length: int, classes: int, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        self.tokens = nn.Embedding(tokens, WIDTH)
        self.positions = nn.Parameter(torch.empty(length, WIDTH))
        layer = nn.TransformerEncoderLayer(
            WIDTH, HEADS, 4 * WIDTH, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, LAYERS, norm=nn.LayerNorm(WIDTH), enable_nested_tensor=False)
        self.head = nn.Linear(WIDTH, classes)
        nn.init.normal_(self.tokens.weight, std=0.02)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws the places again: what belongs to no layer."""
        nn.init.normal_(self.positions, std=0.02)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        x = self.tokens(input_ids) + self.positions[: input_ids.size(1)]
        if self.causal:  # the padding stands behind the text, where nothing looks
            later = torch.ones(x.size(1), x.size(1), dtype=torch.bool, device=x.device).triu(1)
            return self.head(self.encoder(x, mask=later, is_causal=True)).transpose(1, 2)  # type: ignore[no-any-return]
        x = self.encoder(x, src_key_padding_mask=attention_mask == 0)
        there = attention_mask.unsqueeze(-1).to(x.dtype)
        logits: Tensor = self.head((x * there).sum(1) / there.sum(1).clamp(min=1))
        return logits


@register("transformer/small", input_shape=(64, 4096), classes=2, kind="text")
def small(*, classes: int, length: int, tokens: int) -> Transformer:
    """Two layers of width 64 with 4 heads, for the class of a text."""
    return Transformer(tokens=tokens, length=length, classes=classes, causal=False)


@register("transformer/next", input_shape=(64, 257), classes=257, kind="text")
def following(*, classes: int, length: int, tokens: int) -> Transformer:
    """The same for the token after each token of a text."""
    return Transformer(tokens=tokens, length=length, classes=classes, causal=True)
