"""Gradients of a circuit as differences of two values each, as a machine that cannot be differentiated gives them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def parameter_shift(function: Callable[[Tensor], Tensor], parameters: Tensor) -> Tensor:
    """The exact gradient of expectations in angles of rotations: [f(t + pi/2) - f(t - pi/2)] / 2 for every angle t.

    Args:
        function: many parameters at once (P, D) -> (P, ...). Each angle stands in one rotation by half of it, as those
            of :class:`dnal.models.quantum.circuit.Circuit` do.
        parameters: (D,).

    Returns:
        (..., D), what the function returns by each parameter.

    Source:
        the rule is that of Schuld et al., arXiv 1811.11184; recalled.

    Examples:
        >>> from dnal.models.quantum.circuit import Circuit
        >>> circuit, x = Circuit(layers=1), torch.tensor([0.5], dtype=torch.float64)
        >>> parameter_shift(lambda many: circuit(many, x)[:, 0], circuit.initial(0)).shape
        torch.Size([6])
    """
    turns = torch.pi / 2 * torch.eye(parameters.numel(), dtype=parameters.dtype, device=parameters.device)
    more, less = function(torch.cat([parameters + turns, parameters - turns])).chunk(2)
    return ((more - less) / 2).movedim(0, -1)
