"""Attacks on shared gradients: which example made this one?"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from dnal.base.errors import UserError

Gradients = Callable[[Tensor], Tensor]
"""What an attacker computes as the clients do: inputs (V, R, N) -> gradients (V, R, D), of V victims with R guesses
each; :func:`dnal.models.quantum.federated.example_gradients` with targets (V, 1), which the attacker knows."""


class Found(NamedTuple):
    """The best guess of each victim.

    Attributes:
        x: (V, N). mismatch: of its gradient, (V,).
    """

    x: Tensor
    mismatch: Tensor


def mismatch(gradients: Gradients, seen: Tensor, x: Tensor) -> Tensor:
    """How far the gradients of guesses are from those that were seen, over the length of these, squared.

    Args:
        gradients: what the attacker computes. seen: (V, D). x: guesses (V, R, N).

    Returns:
        (V, R), 0 where they are equal.
    """
    seen = seen[:, None]
    length = seen.square().sum(-1).clamp_min(torch.finfo(seen.dtype).tiny)
    return (gradients(x) - seen).square().sum(-1) / length


def random_starts(victims: int, restarts: int, inputs: int, *, high: float = math.pi, seed: int = 0) -> Tensor:
    """Guesses (V, R, N) drawn evenly from 0 to ``high``."""
    draw = torch.Generator().manual_seed(seed)
    return high * torch.rand(victims, restarts, inputs, generator=draw, dtype=torch.float64)


def grid_starts(
    gradients: Gradients, seen: Tensor, inputs: int, *, points: int, keep: int, high: float = math.pi, chunk: int = 4096
) -> Tensor:
    """The best guesses of a grid.

    Args:
        gradients, seen: see :func:`mismatch`. inputs: N. points: along each input, in the middles of as many equal
            parts of 0 to ``high``; there are points^N guesses. keep: how many of them. chunk: guesses at once, of all
            victims together.

    Returns:
        (V, keep, N), the best one first.

    Raises:
        UserError: more are kept than there are.
    """
    if not 1 <= keep <= points**inputs:
        raise UserError(f"a grid of {points} points along {inputs} inputs has {points**inputs} guesses, not {keep}.")
    axis = high * (torch.arange(points, dtype=seen.dtype) + 0.5) / points
    grid = torch.cartesian_prod(*[axis] * inputs).view(-1, inputs)
    with torch.no_grad():
        size = max(1, chunk // len(seen))
        parts = [_without_slopes(gradients, seen, part) for part in grid.split(size)]
    best = torch.cat(parts, 1).topk(keep, largest=False).indices
    return grid[best]


def _without_slopes(gradients: Gradients, seen: Tensor, guesses: Tensor) -> Tensor:
    with torch.enable_grad():  # gradients are made by backpropagation, here too
        return mismatch(gradients, seen, guesses.expand(len(seen), -1, -1)).detach()


def by_descent(
    gradients: Gradients, seen: Tensor, starts: Tensor, *, steps: int, rate: float, high: float = math.pi
) -> Found:
    """Adam on the :func:`mismatch` from every start, with a rate that ends at 0 as a cosine does; the best one counts.

    Args:
        gradients, seen: see :func:`mismatch`. starts: guesses (V, R, N). steps: of each of them. rate: of the first
            step, in radians: less than a period of the highest frequency. high: guesses stay between 0 and this.

    Examples:
        >>> from dnal.models.quantum.circuit import Circuit
        >>> from dnal.models.quantum.federated import example_gradients, first_squared
        >>> circuit = Circuit(inputs=1, per_input=2, base=1)
        >>> parameters, secret = circuit.initial(0), torch.tensor([[1.2]], dtype=torch.float64)
        >>> target = torch.ones(1, 1, dtype=torch.float64)
        >>> gradients = lambda x: example_gradients(circuit, first_squared, parameters, x, target)
        >>> seen = gradients(secret[:, None])[:, 0]
        >>> by_descent(gradients, seen, random_starts(1, 4, 1), steps=100, rate=0.1).x.round(decimals=2)
        tensor([[1.2000]], dtype=torch.float64)
    """
    x = starts.detach().clone().requires_grad_()
    optimizer = torch.optim.Adam([x], lr=rate)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * (1 + math.cos(math.pi * step / steps)) / 2
        (x.grad,) = torch.autograd.grad(mismatch(gradients, seen, x).sum(), x)
        optimizer.step()
        with torch.no_grad():
            x.clamp_(0, high)
    ended = x.detach()
    last = mismatch(gradients, seen, ended)
    best = last.argmin(1)
    rows = torch.arange(len(best))
    return Found(ended[rows, best], last[rows, best])


def of_linear_layer(weights: Tensor, biases: Tensor) -> Tensor:
    """The inputs of a linear layer, from the gradient of one example: exact, without any search.

    The gradient by the weights of a neuron is that by its bias times the inputs.

    Args:
        weights: gradients (..., H, N). biases: gradients (..., H), of which one is not 0.

    Returns:
        (..., N).

    Examples:
        >>> of_linear_layer(torch.tensor([[0.0, 0.0], [2.0, 6.0]]), torch.tensor([0.0, 2.0]))
        tensor([1., 3.])
    """
    best = biases.abs().argmax(-1, keepdim=True)
    row = weights.take_along_dim(best[..., None], -2).squeeze(-2)
    return row / biases.take_along_dim(best, -1)


def share_found(found: Tensor, secret: Tensor, tolerance: float = 0.01) -> float:
    """The share of victims (V, N) whose inputs are all found within ``tolerance``, in radians."""
    return float(((found - secret).abs().amax(-1) < tolerance).double().mean())
