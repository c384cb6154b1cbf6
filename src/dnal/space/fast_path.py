"""torch's fused attention in eval mode, which reads the tensors of a whole encoder layer at once.

What lost a branch or heads runs as its code says instead, module by module, and what would hand it nested tensors does
not: these are for fused layers alone.
"""

from __future__ import annotations

import torch
from torch import nn

from dnal.space.surgery.bypass import First, Zero


def may_take_it(network: nn.Module) -> bool:
    """Whether the network runs in another way without gradients than with them."""
    fast: bool = torch.backends.mha.get_fastpath_enabled()
    return fast and any(isinstance(module, nn.MultiheadAttention) for module in network.modules())


def leave_it(network: nn.Module) -> None:
    """Says so to those encoders of a compact network that cannot take it any more, in place."""
    layers = [layer for layer in network.modules() if isinstance(layer, nn.TransformerEncoderLayer)]
    for layer in layers:
        if any(isinstance(part, (Zero, First)) for part in layer.children()):
            layer.activation_relu_or_gelu = 0  # it is asked for before the tensors are, and by nothing else
    for encoder in network.modules():
        if isinstance(encoder, nn.TransformerEncoder) and not all(map(_whole, encoder.layers)):
            encoder.use_nested_tensor = False


def _whole(layer: nn.Module) -> bool:
    attention = getattr(layer, "self_attn", None)
    return bool(getattr(layer, "activation_relu_or_gelu", 0)) and bool(getattr(attention, "_qkv_same_embed_dim", False))
