"""Inputs like the example's, but every example another one: equal ones would hide that two are exchanged."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from dnal.space.surgery.inputs import Inputs, at_batch


def varied(example: Inputs, batch: int) -> Inputs:
    """A batch of this size, on the CPU. Floating-point numbers are those of the example times 0.5 to 1.5, so that they
    keep sign and range, or normal noise where the example is all zero; whole numbers are the example's, rolled."""
    generator = torch.Generator().manual_seed(batch)

    def one(tensor: Tensor) -> Tensor:
        tensor = tensor.detach().cpu()
        if tensor.is_floating_point():
            if not tensor.any():
                return torch.randn(tensor.shape, generator=generator).to(tensor.dtype)
            return tensor * (0.5 + torch.rand(tensor.shape, generator=generator)).to(tensor.dtype)
        if tensor.dim() < 2:
            return tensor.clone()
        return torch.stack([row.roll(number) for number, row in enumerate(tensor)])

    return tree_map_only(Tensor, one, at_batch(example, batch))  # type: ignore[no-any-return]
