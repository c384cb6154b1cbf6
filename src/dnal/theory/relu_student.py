"""A two-layer ReLU network of one output under full-batch gradient descent, its errors over time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dnal.base.errors import UserError

Array = NDArray[np.float64]


class Course(NamedTuple):
    """Mean squared errors at the steps that were asked for, (S,) each, and the learning rate of the first step."""

    train: Array
    test: Array
    rate: float


def train_student(
    inputs: Array,
    targets: Array,
    new_inputs: Array,
    new_targets: Array,
    hidden: int,
    steps: Sequence[int],
    *,
    start: float = 0.1,
    seed: int = 0,
) -> Course:
    """Trains f(x) = a . relu(W x + b) on the mean squared error, all layers, all samples in every step.

    W begins with variance 1 / inputs, b at 0 and a with standard deviation ``start`` / sqrt(hidden): small, as the
    claims about wide networks want it. The rate is 1 / the trace of the curvature, of every step, so that none
    is unstable.

    Args:
        inputs (P, d), targets (P,): that are trained on. new_inputs (Q, d), new_targets (Q,): to measure on.
        hidden: units. steps: after which errors are measured, rising.

    Raises:
        UserError: steps that do not rise.

    Examples:
        >>> x = np.linspace(-1, 1, 20)[:, None]
        >>> found = train_student(x, abs(x[:, 0]), x, abs(x[:, 0]), 20, [0, 2000])
        >>> bool(found.train[1] < 0.02 < found.train[0])
        True
    """
    if not steps or list(steps) != sorted(set(steps)) or steps[0] < 0:
        raise UserError("steps rise, from 0 or more.")
    rng = np.random.default_rng(seed)
    x, new = (np.concatenate([own, np.ones((len(own), 1))], axis=1) for own in (inputs, new_inputs))
    w = rng.normal(size=(hidden, x.shape[1])) / np.sqrt(inputs.shape[1])
    w[:, -1] = 0
    a = start * rng.normal(size=hidden) / np.sqrt(hidden)
    number = len(x)
    first_rate = 0.0
    found: list[tuple[float, float]] = []
    energy = float((x**2).sum(1).mean())
    for step in range(steps[-1] + 1):
        before = x @ w.T
        h = np.maximum(before, 0)
        gap = h @ a - targets
        if step in steps:
            found.append((float((gap**2).mean()), float(((np.maximum(new @ w.T, 0) @ a - new_targets) ** 2).mean())))
        # the trace bounds the largest eigenvalue of the curvature
        rate = 0.5 / (float(np.vdot(h, h)) / number + energy * float(a @ a) + 1e-12)
        first_rate = first_rate or rate
        slope = 2 / number * gap
        w -= rate * ((slope[:, None] * (before > 0) * a).T @ x)
        a -= rate * (slope @ h)
    train, test = np.array(found).T
    return Course(train, test, first_rate)
