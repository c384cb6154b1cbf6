"""nn.MultiheadAttention with fewer heads than its stream has room for.

torch's own forward asserts that heads times width is the width of the stream. This one computes the same without.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class _FewerHeads(nn.MultiheadAttention):
    """The heads that are left, each of the original width ``head_dim``."""

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        batched = query.dim() == 3
        if not batched:
            query, key, value = (x.unsqueeze(0) for x in (query, key, value))
            key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
        elif not self.batch_first:
            query, key, value = (x.transpose(0, 1) for x in (query, key, value))
        heads = self.out_proj.weight.size(1) // self.head_dim
        width = heads * self.head_dim
        packed: Tensor | None = self.in_proj_weight
        apart = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
        weights: Any = apart if packed is None else packed.split(width)
        biases: Any = (None, None, None) if self.in_proj_bias is None else self.in_proj_bias.split(width)
        q, k, v = (
            F.linear(x, w, b).unflatten(-1, (heads, self.head_dim)).transpose(1, 2)
            for x, w, b in zip((query, key, value), weights, biases, strict=True)
        )
        scores = (q / math.sqrt(self.head_dim)) @ k.transpose(-2, -1)  # (N, heads, L, S)
        if attn_mask is not None:
            of_heads = attn_mask if attn_mask.dim() == 2 else attn_mask.unflatten(0, (scores.size(0), -1))
            scores = scores + _added(of_heads, scores)
        if key_padding_mask is not None:
            scores = scores + _added(key_padding_mask[:, None, None, :], scores)
        attention = scores.softmax(-1)
        dropped = F.dropout(attention, self.dropout, self.training)
        out = self.out_proj((dropped @ v).transpose(1, 2).flatten(2))
        if not batched:
            out, attention = out.squeeze(0), attention.squeeze(0)
        elif not self.batch_first:
            out = out.transpose(0, 1)
        if not need_weights:
            return out, None
        return out, attention.mean(-3) if average_attn_weights else attention


def _added(mask: Tensor, scores: Tensor) -> Tensor:
    """A mask as numbers to add: a boolean one hides where it is true."""
    return torch.zeros_like(mask, dtype=scores.dtype).masked_fill(mask, -math.inf) if mask.dtype == torch.bool else mask


_MADE: dict[type[nn.Module], type[nn.Module]] = {}


def _adapted(kind: type[nn.Module]) -> type[nn.Module]:
    if kind not in _MADE:
        bases = (_FewerHeads, kind) if kind is nn.MultiheadAttention else (kind, _FewerHeads)
        members = {"__module__": kind.__module__, "__doc__": kind.__doc__, "__reduce_ex__": _reduce, "original": kind}
        _MADE[kind] = type(kind.__name__, bases, members)
    return _MADE[kind]


def fewer_heads(module: nn.Module) -> None:
    """Gives an attention whose projections were cut the forward that does without the stream's width, in place."""
    assert isinstance(module, nn.MultiheadAttention)
    width = module.embed_dim
    expected = {
        "in_proj_weight": (3 * width, width),
        "q_proj_weight": (width, width),
        "k_proj_weight": (width, module.kdim),
        "v_proj_weight": (width, module.vdim),
    }
    found = {name: weight.shape for name in expected if (weight := getattr(module, name)) is not None}
    whole = all(shape == expected[name] for name, shape in found.items())
    whole = whole and module.out_proj.weight.shape == (width, width)
    if whole or isinstance(module, _FewerHeads) or module.bias_k is not None or module.add_zero_attn:
        return
    module.__class__ = _adapted(type(module))  # type: ignore[assignment]
    module._qkv_same_embed_dim = False  # nn.TransformerEncoder asks this before its fused kernel, which wants all heads


def _reduce(self: nn.Module, protocol: Any) -> tuple[Any, ...]:
    return _restored, (type(self).original,), self.__getstate__()  # type: ignore[attr-defined]


def _restored(kind: type[nn.Module]) -> nn.Module:
    """An empty module of the adapted class, for copy and pickle."""
    made = _adapted(kind)
    return made.__new__(made)
