"""Tuning one hyperparameter over many tasks: how performance depends on it, and how many tasks choose it well.

A task x has a performance f(x, alpha, w) in [0, H]. Training finds the best weights, u(x, alpha) = max over w of f,
and the hyperparameter is chosen by its mean over tasks. Here alpha mixes two activations in every unit of a network.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from dnal.base.errors import UserError

Array = NDArray[np.float64]
Activation = Callable[[Tensor], Tensor]


class Oscillations(NamedTuple):
    """Of a curve on a grid: steps larger than the tolerance of a jump, and turns larger than that of a turn."""

    jumps: int
    turns: int


class Chosen(NamedTuple):
    """The place of the hyperparameter with the best mean, and that mean."""

    place: int
    mean: float


def interpolated(
    x: Tensor, alpha: Tensor | float, first: Activation = torch.relu, second: Activation = torch.tanh
) -> Tensor:
    """alpha first(x) + (1 - alpha) second(x): a hyperparameter that all units share.

    Examples:
        >>> interpolated(torch.tensor([-1.0, 2.0]), 0.5)
        tensor([-0.3808,  1.4820])
    """
    return alpha * first(x) + (1 - alpha) * second(x)


def trace_duals(
    x: Tensor,
    y: Tensor,
    alphas: Sequence[float],
    *,
    hidden: int = 6,
    restarts: int = 2,
    steps: int = 300,
    rate: float = 0.02,
    first: Activation = torch.relu,
    second: Activation = torch.tanh,
    shared: bool = True,
    warm: bool = True,
    seed: int = 0,
) -> Array:
    """u(x, alpha) of every task at every alpha: 1 - the mean squared error on the task's own samples, at least 0.

    All networks, one hidden layer and a bias, are trained in one batch by Adam. Training is not the maximum over
    weights that the theory speaks of, and what it misses looks like oscillations: so the best of several starts
    counts, and then each alpha goes on from the weights of its neighbours too.

    Args:
        x: (tasks, samples, features). y: (tasks, samples), of variance 1, so that 0 is what the mean of the targets
            has.
        alphas: (A,), from 0 to 1. shared: whether all alphas begin with the same weights. warm: whether neighbours are
            tried.

    Returns:
        (tasks, A).

    Raises:
        UserError: shapes that do not belong together.

    Examples:
        >>> x = torch.linspace(-1, 1, 20).reshape(1, 20, 1)
        >>> found = trace_duals(x, x[..., 0] / x.std(), [0.0, 1.0], steps=100)
        >>> found.shape, bool((found > 0.8).all())
        ((1, 2), True)
    """
    if x.dim() != 3 or y.shape != x.shape[:2] or not alphas:
        raise UserError("x is (tasks, samples, features), y (tasks, samples), and there is an alpha.")
    generator = torch.Generator().manual_seed(seed)
    tasks, _, features = x.shape
    starts = (1, restarts, 1) if shared else (tasks, restarts, len(alphas))
    drawn = [
        torch.randn(*starts, features, hidden, generator=generator) / math.sqrt(features),
        torch.zeros(*starts, 1, hidden),
        torch.randn(*starts, hidden, 1, generator=generator) / math.sqrt(hidden),
        torch.zeros(*starts, 1, 1),
    ]
    at = torch.tensor(list(alphas), dtype=x.dtype)[:, None, None]

    def trained(weights: Sequence[Tensor], steps: int) -> tuple[list[Tensor], Tensor]:
        own = [
            one.expand(tasks, one.shape[1], len(alphas), *one.shape[3:]).clone().requires_grad_() for one in weights
        ]  # fmt: skip
        optimizer = torch.optim.Adam(own, lr=rate)
        best = torch.full((tasks, own[0].shape[1], len(alphas)), math.inf)
        for step in range(steps + 1):
            h = interpolated(x[:, None, None] @ own[0] + own[1], at, first, second)
            losses = ((h @ own[2] + own[3]).squeeze(-1) - y[:, None, None]).square().mean(-1)
            best = torch.minimum(best, losses.detach())
            if step < steps:
                optimizer.zero_grad()
                losses.sum().backward()
                optimizer.step()
        return [one.detach() for one in own], best

    weights, best = trained(drawn, steps)
    if warm and len(alphas) > 1:
        sides = []
        for shift in (-1, 1):
            place = (torch.arange(len(alphas)) + shift).clamp(0, len(alphas) - 1)
            sides.append([one[:, :, place] for one in weights])
        _, again = trained([torch.cat(both, dim=1) for both in zip(*sides, strict=True)], steps // 4)
        best = torch.cat([best, again], dim=1)
    found: Array = (1 - best.amin(1)).clamp(min=0).double().numpy()
    return found


def oscillations(curve: ArrayLike, *, jump: float = 0.1, turn: float = 0.01) -> Oscillations:
    """Counts what the theory's bounds are made of, on a grid.

    Args:
        curve: (A,). jump: a larger step between neighbours counts as a discontinuity. turn: a rise or fall that is at
            most so large is taken for noise of the training.

    Examples:
        >>> oscillations([0.0, 0.3, 0.1, 0.105, 0.1, 0.5])
        Oscillations(jumps=3, turns=2)
    """
    own = np.asarray(curve, dtype=np.float64)
    jumps = int((abs(np.diff(own)) > jump).sum())
    turns, direction, last = 0, 0, float(own[0])
    for value in own[1:]:
        step = np.sign(value - last)
        if direction and step == direction:
            last = float(value)  # further the same way
        elif abs(value - last) > turn:
            turns += direction != 0
            direction, last = int(step), float(value)
    return Oscillations(jumps, turns)


def choose(performance: Array) -> Chosen:
    """Empirical risk minimisation over tasks: the alpha with the best mean.

    Args:
        performance: (tasks, A).

    Examples:
        >>> choose(np.array([[0.1, 0.5, 0.9], [0.8, 0.7, 0.1]]))
        Chosen(place=1, mean=0.6)
    """
    means = performance.mean(0)
    return Chosen(int(means.argmax()), float(means.max()))


def uniform_gap(
    performance: Array, number: int, *, others: Array | None = None, draws: int = 200, seed: int = 0
) -> float:
    """The mean over draws of the largest difference, over alphas, of means over ``number`` tasks and over all others.

    Args:
        performance: (tasks, A). number: of tasks, less than there are. others: (more tasks, A) that are never chosen.

    Raises:
        UserError: no task is left.

    Examples:
        >>> uniform_gap(np.array([[0.0], [1.0]]), 1)
        1.0
    """
    if not 0 < number < len(performance):
        raise UserError(f"of {len(performance)} tasks at least one is chosen and one is left, not {number}.")
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(draws):
        order = rng.permutation(len(performance))
        chosen, rest = performance[order[:number]], performance[order[number:]]
        rest = rest if others is None else np.concatenate([rest, others])
        found.append(abs(chosen.mean(0) - rest.mean(0)).max())
    return float(np.mean(found))


def dimension_of_oscillations(jumps: int, turns: int) -> float:
    """The pseudo-dimension of performances with so many discontinuities and local extrema: of the order of log(both).

    An order of magnitude: constants are not specified (arXiv 2501.13734, recalled).
    """
    return math.log(max(jumps + turns, 2))


def dimension_of_pieces(pieces: int, weights: int = 0, boundaries: int = 1, degree: int = 1) -> float:
    """For piecewise polynomial performances: of the order of log(pieces) + weights log(degree boundaries).

    Without weights, for piecewise constant ones: log(pieces).

    Args:
        pieces: connected parts of the space of alpha and weights. boundaries: polynomials that cut it. degree: the
            largest, of pieces and boundaries.
    """
    return math.log(max(pieces, 2)) + weights * math.log(max(degree * boundaries, 2))


def dimension_of_activations(
    layers: int, weights: int, units: int, examples: int, breakpoints: int = 1, degree: int = 1
) -> float:
    """For interpolated activations: of the order of layers^2 weights log degree + layers weights log(examples
    breakpoints
    units). The number of tasks is not in it; that of examples is, in a logarithm.

    Examples:
        >>> ratio = dimension_of_activations(1, 40, 6, 4000) / dimension_of_activations(1, 40, 6, 40)
        >>> f"a hundred times the examples: {ratio:.2f} times"
        'a hundred times the examples: 1.84 times'
    """
    return layers**2 * weights * math.log(max(degree, 1)) + layers * weights * math.log(
        max(examples * breakpoints * units, 2)
    )


def gap_bound(dimension: float, tasks: int, *, most: float = 1.0, failure: float = 0.05) -> float:
    """H sqrt((dimension + log(1 / failure)) / tasks): the order of the gap that holds but with this probability of
    failure.

    Args:
        dimension: the pseudo-dimension. most: H.

    Examples:
        >>> round(gap_bound(10, 400) / gap_bound(10, 100), 3)
        0.5
    """
    return most * math.sqrt((dimension + math.log(1 / failure)) / tasks)
