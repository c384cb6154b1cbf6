"""nn.MultiheadAttention with fewer heads than its stream has room for.

torch's own forward asserts that heads times width is the width of the stream. This one runs the same operations
without that, fused attention included, so that it takes no more time and memory than torch's own would.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnal.space.unscriptable import refuse_scripting


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
        if not batched:  # as torch does, (L, N, E) from here on
            query, key, value = (x.unsqueeze(1) for x in (query, key, value))
            key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
        elif self.batch_first:
            query, key, value = _transposed(query, key, value)
        (length, batch), heads = query.shape[:2], self.out_proj.weight.size(1) // self.head_dim
        width = heads * self.head_dim
        q, k, v = (
            x.view(x.size(0), batch * heads, self.head_dim).transpose(0, 1)
            for x in self._projected(query, key, value, width)
        )
        causal = is_causal and key_padding_mask is None and not need_weights
        mask = _merged(None if causal else attn_mask, key_padding_mask, batch, query.dtype)
        attention: Tensor | None = None
        if need_weights:
            scores = torch.bmm(q * math.sqrt(1.0 / self.head_dim), k.transpose(-2, -1))
            del k
            if mask is not None:
                scores = (scores.view(batch, heads, length, -1) + mask).flatten(0, 1)
            attention = scores.softmax(-1)
            del scores
            if self.training and self.dropout > 0.0:
                attention = F.dropout(attention, self.dropout)
            out = torch.bmm(attention, v)
            del v
            out = out.transpose(0, 1).reshape(length * batch, width)
        else:
            q, k, v = (x.view(batch, heads, -1, self.head_dim) for x in (q, k, v))
            dropout = self.dropout if self.training else 0.0
            out = F.scaled_dot_product_attention(q, k, v, mask, dropout, causal)
            del q, k, v
            out = out.permute(2, 0, 1, 3).reshape(length * batch, width)
        out = self.out_proj(out)
        out = out.view(length, batch, out.size(1))
        if attention is not None:
            attention = attention.view(batch, heads, length, -1)
            attention = attention.mean(1) if average_attn_weights else attention
            attention = attention if batched else attention.squeeze(0)
        if not batched:
            return out.squeeze(1), attention
        return out.transpose(0, 1) if self.batch_first else out, attention

    def _projected(self, query: Tensor, key: Tensor, value: Tensor, width: int) -> Sequence[Tensor]:
        """Queries, keys and values of the heads, (L, N, width) each: one product where they come from one tensor."""
        packed: Tensor | None = self.in_proj_weight
        bias: Tensor | None = self.in_proj_bias
        if packed is not None and query is key and key is value:
            return _apart(F.linear(query, packed, bias), 3)
        if packed is not None and key is value:
            ours, theirs = packed.split([width, 2 * width])
            biases: Any = (None, None)
            if bias is not None:
                biases = bias.split([width, 2 * width])
            q = F.linear(query, ours, biases[0])
            return (q, *_apart(F.linear(key, theirs, biases[1]), 2))
        weights: Any = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
        weights = weights if packed is None else packed.chunk(3)
        biases = (None, None, None) if bias is None else bias.chunk(3)
        return [F.linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases, strict=True)]


def _transposed(*given: Tensor) -> list[Tensor]:
    """(L, N, E) of each (N, L, E); what was one tensor still is one."""
    made = {number: x.transpose(1, 0) for number, x in {id(x): x for x in given}.items()}
    return [made[id(x)] for x in given]


def _apart(projected: Tensor, parts: int) -> Sequence[Tensor]:
    """(L, N, parts * width) as so many tensors (L, N, width) in one block of memory."""
    apart = projected.unflatten(-1, (parts, -1)).unsqueeze(0).transpose(0, -2).squeeze(-2).contiguous()
    return [apart[i] for i in range(parts)]


def _merged(attn_mask: Tensor | None, key_padding_mask: Tensor | None, batch: int, dtype: torch.dtype) -> Tensor | None:
    """Both masks as numbers to add to scores of shape (N, heads, L, S)."""
    mask = None if attn_mask is None else _added(attn_mask, dtype)
    if mask is not None:
        mask = mask[None, None] if mask.dim() == 2 else mask.unflatten(0, (batch, -1))
    if key_padding_mask is not None:
        padding = _added(key_padding_mask, dtype)[:, None, None, :]
        mask = padding if mask is None else mask + padding
    return mask


def _added(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """A mask as numbers to add: a boolean one hides where it is true."""
    return torch.zeros_like(mask, dtype=dtype).masked_fill_(mask, -math.inf) if mask.dtype == torch.bool else mask


_MADE: dict[type[nn.Module], type[nn.Module]] = {}


def _adapted(kind: type[nn.Module]) -> type[nn.Module]:
    if kind not in _MADE:
        bases = (_FewerHeads, kind) if kind is nn.MultiheadAttention else (kind, _FewerHeads)
        members: dict[str, Any] = {"__module__": kind.__module__, "__doc__": kind.__doc__, "original": kind}
        members |= {"__reduce_ex__": _reduce, "__prepare_scriptable__": refuse_scripting}
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
