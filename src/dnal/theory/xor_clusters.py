"""A wide ReLU network on clusters in the form of XOR: it fits noisy labels in one step, and generalises some steps
later."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dnal.base.errors import UserError

Array = NDArray[np.float64]


@dataclass(frozen=True)
class XorClusters:
    """Points around +-mu_1 (label 1) and +-mu_2 (label -1), which stand at right angles, with noise N(0, I).

    One step fits where the noise rules the products of samples, separation^2 much less than dimension / samples; the
    clusters are found later where samples * separation^4 / dimension is large.

    Attributes:
        samples: to train on. dimension: p, more than the samples. separation: |mu|.
        flipped: probability with which a training label is the wrong one.
    """

    samples: int = 100
    dimension: int = 4000
    separation: float = 12.0
    flipped: float = 0.1

    def __post_init__(self) -> None:
        if self.samples < 1 or self.dimension < 2 or not self.separation > 0 or not 0 <= self.flipped < 0.5:
            raise UserError(
                "there are samples, dimensions (2 or more) and a separation, and fewer than half are flipped."
            )


class Points(NamedTuple):
    """Points (N, p), their clean labels (N,) and those that are seen, -1 and 1."""

    x: Array
    clean: Array
    seen: Array


class Grokking(NamedTuple):
    """What holds after each step that was asked for, (S,) each.

    Attributes:
        steps: of gradient descent. train: accuracy on the labels that are trained on, flipped ones too. clean: on the
            clean labels of the same points. test: on new points with clean labels. linear: R^2 of a linear function
            fitted to the outputs on the new points through their odd part: 1 - mean (f(x) + f(-x))^2 / (2 mean (f(x)^2
            + f(-x)^2)); 1 where f is odd, as linear functions are, and 0 where it is even, as XOR is.
        aligned: mean \\|cos\\| of the weights of neurons and the clusters of their sign (mu_1 for positive ones).
    """

    steps: NDArray[np.int64]
    train: Array
    clean: Array
    test: Array
    linear: Array
    aligned: Array


def draw(data: XorClusters, number: int, flipped: float, rng: np.random.Generator) -> Points:
    """Points of the clusters: mu_1 lies along the first axis, mu_2 along the second."""
    axis, sign = rng.integers(2, size=number), 2.0 * rng.integers(2, size=number) - 1
    x = rng.normal(size=(number, data.dimension))
    x[np.arange(number), axis] += sign * data.separation
    clean = np.where(axis == 0, 1.0, -1.0)
    return Points(x, clean, np.where(rng.random(number) < flipped, -clean, clean))


def grok(
    data: XorClusters,
    steps: Sequence[int],
    *,
    hidden: int = 200,
    rate: float = 0.1,
    start: float = 1e-6,
    new: int = 500,
    seed: int = 0,
) -> Grokking:
    r"""Full-batch gradient descent of f(x) = sum of a_j relu(w_j . x), a_j = +-1 / sqrt(hidden) fixed, on the logistic
    loss.

    All weights stay their first ones plus combinations of the samples, W = W_0 + C X. So the products of samples hold
    all that training needs, and a step costs samples^2 hidden, whatever the dimension.

    Args:
        steps: after which is measured, rising. hidden: neurons. rate: of learning. start: standard deviation of the
            first weights; the claim needs it tiny. new: points to test on. seed: of everything that is drawn.

    Raises:
        UserError: steps that do not rise, no neurons, or a start of 0, where no neuron is on.

    Source:
        Xu, Wang, Frei, Vardi and Hu, arXiv 2310.02541.

    Examples:
        >>> found = grok(XorClusters(), [0, 1, 50])
        >>> bool(found.train[1] > 0.97), bool(found.test[1] < 0.6), bool(found.test[2] > 0.85)
        (True, True, True)
    """
    if not steps or list(steps) != sorted(set(steps)) or steps[0] < 0:
        raise UserError("steps rise, from 0 or more.")
    if hidden < 1 or not start > 0:
        raise UserError("there are neurons, and a start above 0: at 0 every neuron is off and stays so.")
    rng = np.random.default_rng(seed)
    seen, unseen = draw(data, data.samples, data.flipped, rng), draw(data, new, 0.0, rng)
    a = (2.0 * rng.integers(2, size=hidden) - 1) / math.sqrt(hidden)
    first = start * rng.normal(size=(hidden, data.dimension))
    gram, across = seen.x @ seen.x.T, unseen.x @ seen.x.T
    at_first, new_at_first = seen.x @ first.T, unseen.x @ first.T
    combined = np.zeros((hidden, data.samples))
    found = []
    for step in range(steps[-1] + 1):
        before = at_first + gram @ combined.T
        output = np.maximum(before, 0) @ a
        if step in steps:
            there = new_at_first + across @ combined.T
            value, mirrored = np.maximum(there, 0) @ a, np.maximum(-there, 0) @ a
            odd = 1 - ((value + mirrored) ** 2).mean() / (2 * (value**2 + mirrored**2).mean())
            weights = first[:, :2] + combined @ seen.x[:, :2]
            norms = np.sqrt(
                (first**2).sum(1) + 2 * (combined * at_first.T).sum(1) + ((combined @ gram) * combined).sum(1)
            )
            own = weights[np.arange(hidden), (a < 0).astype(int)]
            found.append(
                (
                    *((np.sign(output) == labels).mean() for labels in (seen.seen, seen.clean)),
                    (np.sign(value) == unseen.clean).mean(), odd, (abs(own) / norms).mean(),
                )
            )  # fmt: skip
        pull = seen.seen / (1 + np.exp(np.clip(seen.seen * output, -50, 50))) / data.samples
        combined += rate * ((before > 0) * pull[:, None] * a).T
    return Grokking(np.array(steps), *np.array(found, dtype=np.float64).T)
