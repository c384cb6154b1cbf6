"""The sign of numbers, with a straight-through gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def sign(x: Tensor) -> Tensor:
    """+1 where a number is 0 or more, -1 elsewhere; its gradient is that of the number clamped to [-1, 1].

    torch's own sign of 0 is 0, which is no bit. The gradient (the clipped straight-through estimator) is 1 where
    |x| <= 1, and 0 elsewhere.

    Args:
        x: numbers of any shape, floating.

    Returns:
        +1 and -1, of the same shape and type.

    Source: Hubara et al., Binarized Neural Networks, NeurIPS 2016.

    Examples:
        >>> x = torch.tensor([-2.0, -0.5, 0.0, 0.5, 2.0], requires_grad=True)
        >>> sign(x).tolist()
        [-1.0, -1.0, 1.0, 1.0, 1.0]
        >>> sign(x).sum().backward()
        >>> x.grad.tolist()
        [0.0, 1.0, 1.0, 1.0, 0.0]
    """
    found: Tensor = _StraightThrough.apply(x)
    return found


def _bits(x: Tensor) -> Tensor:
    return (x >= 0).to(x.dtype) * 2 - 1


class _StraightThrough(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return _bits(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        x: Tensor = ctx.saved_tensors[0]
        return gradient * (x.abs() <= 1)
