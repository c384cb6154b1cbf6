"""The functions that make gates of architecture parameters, and weights of gates."""

from __future__ import annotations

import torch
from torch import Tensor


def sigmoid_gates(s: Tensor, delta: float) -> Tensor:
    """g = sigmoid(delta * s) (arXiv 2103.02126). ``s``: (num_gates,), ``delta`` > 0 the scale.

    Examples:
        >>> sigmoid_gates(torch.tensor([-1.0, 0.0, 1.0]), delta=10)
        tensor([4.5398e-05, 5.0000e-01, 9.9995e-01])
    """
    return torch.sigmoid(delta * s)


def hard_gates(s: Tensor, delta: float) -> Tensor:
    """1 where s > 0 else 0, with the gradient of sigmoid(delta * s) (straight-through).

    Examples:
        >>> s = torch.tensor([-0.5, 0.5], requires_grad=True)
        >>> gates = hard_gates(s, delta=2)
        >>> gates.tolist()
        [0.0, 1.0]
        >>> gates.sum().backward()
        >>> s.grad
        tensor([0.3932, 0.3932])
    """
    soft = sigmoid_gates(s, delta)
    return soft + ((s > 0).to(soft.dtype) - soft).detach()


def along(gate: Tensor, weight: Tensor, dim: int) -> Tensor:
    """A gate as what a weight is multiplied with: one for each slice along ``dim``, (size of that dimension,), or one
    for each of that and all later dimensions, the same many entries one behind the other."""
    alike = (
        [*[1] * dim, *weight.shape[dim:]]
        if gate.numel() > weight.size(dim)
        else [-1 if d == dim else 1 for d in range(weight.dim())]
    )
    return gate.to(weight.dtype).view(alike)


def scaled(weight: Tensor, gate: Tensor, dim: int) -> Tensor:
    """The weight with each slice along ``dim`` times its gate; ``gate``: (size of that dimension,)."""
    return weight * along(gate, weight, dim)
