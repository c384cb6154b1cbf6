"""Least squares under gradient flow, exact at any time: of a linear student, or of the readout of fixed features."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dnal.base.errors import UserError
from dnal.theory.marchenko_pastur import marchenko_pastur

Array = NDArray[np.float64]


class Errors(NamedTuple):
    """Mean squared errors over time, (T,) each."""

    train: Array
    test: Array


class Draw(NamedTuple):
    """Samples of a linear teacher, and first weights of a student.

    Attributes:
        inputs: (P, N). targets: (P,). teacher, start: (N,). noise: variance of the targets' noise.
    """

    inputs: Array
    targets: Array
    teacher: Array
    start: Array
    noise: float


def weights_over_time(inputs: Array, targets: Array, times: ArrayLike, start: Array | None = None) -> Array:
    """The weights under dw/dt = X^T (y - X w), by the singular values of X: nothing is stepped.

    Args:
        inputs: X (P, N), features of a sample in a row. targets: (P,) or (P, outputs). times: (T,), in units of steps
            times learning rate of the summed loss; infinite ones are the solution of least squares nearest to the
            start.
        start: (N,) or (N, outputs); None: zeros.

    Returns:
        (T, N) or (T, N, outputs).

    Raises:
        UserError: shapes that do not belong together.

    Examples:
        >>> X, y = np.array([[2.0, 0.0], [0.0, 1.0]]), np.array([2.0, 1.0])
        >>> weights_over_time(X, y, [0.0, 0.5, np.inf]).round(2)
        array([[0.  , 0.  ],
               [0.86, 0.39],
               [1.  , 1.  ]])
    """
    if inputs.ndim != 2 or len(inputs) != len(targets):
        raise UserError(f"inputs {inputs.shape} are (samples, features), targets {targets.shape} one per sample.")
    at = np.atleast_1d(np.asarray(times, dtype=np.float64))
    many = targets.ndim == 2
    y = targets if many else targets[:, None]
    first = np.zeros((inputs.shape[1], y.shape[1])) if start is None else start.reshape(inputs.shape[1], y.shape[1])
    u, s, vt = np.linalg.svd(inputs, full_matrices=False)
    moving = s > s.max(initial=0.0) * max(inputs.shape) * np.finfo(np.float64).eps
    u, s, vt = u[:, moving], s[moving], vt[moving]
    done = -np.expm1(-np.multiply.outer(at, s**2))  # (T, r): how much of each mode is learnt
    gap = (u.T @ y) / s[:, None] - vt @ first  # (r, outputs): of the end to the start
    found: Array = first + np.einsum("tr,ro,rn->tno", done, gap, vt, optimize=True)
    return found if many else found[..., 0]


def draw(weights: int, samples: int, snr: float, inr: float, rng: np.random.Generator) -> Draw:
    """Samples of the setting of :mod:`dnal.theory.linear_dynamics`.

    Args:
        weights: N. samples: P.
    """
    inputs = rng.normal(size=(samples, weights)) / np.sqrt(weights)
    teacher = rng.normal(size=weights)
    targets = inputs @ teacher + rng.normal(size=samples) / np.sqrt(snr)
    return Draw(inputs, targets, teacher, np.sqrt(inr) * rng.normal(size=weights), 1 / snr)


def simulate(weights: int, samples: int, snr: float, times: ArrayLike, inr: float = 0.0, seed: int = 0) -> Errors:
    """One student's errors over time, of :func:`draw`: what :func:`dnal.theory.linear_dynamics.test_error` is the mean
    of.

    The test error is exact: inputs of variance 1 / N make it \\|w - teacher\\|^2 / N + 1 / snr.

    Args:
        weights: N. samples: P. snr, inr: as there. times: (T,). seed: of everything that is drawn.

    Examples:
        >>> found = simulate(100, 400, snr=5, times=[0, 1, 1000])
        >>> found.test.round(1)
        array([1.2, 0.3, 0.3])
    """
    drawn = draw(weights, samples, snr, inr, np.random.default_rng(seed))
    found = weights_over_time(drawn.inputs, drawn.targets, times, drawn.start)
    test = ((found - drawn.teacher) ** 2).mean(1) + drawn.noise
    train = ((found @ drawn.inputs.T - drawn.targets) ** 2).mean(1)
    return Errors(train, test)


def largest_rate(alpha: float) -> float:
    """Learning rates below make steps of the summed loss follow the flow: 1 / (sqrt(alpha) + 1)^2.

    Examples:
        >>> largest_rate(1)
        0.25
    """
    marchenko_pastur(alpha, 1)  # refuses what is no alpha
    return float((np.sqrt(alpha) + 1) ** -2)
