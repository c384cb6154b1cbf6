"""How a linear student learns a noisy linear teacher: errors over time in closed form, when to stop, which ridge.

N weights, P = alpha N samples, entries of the inputs (N, P) of variance 1 / N. The teacher's weights have variance 1,
the noise of its targets 1 / ``snr``, the student's first weights ``inr``. The loss is 1/2 of the sum over the samples,
not their mean, and time is in units of the time constant of its gradient flow: steps times learning rate.
All errors hold the noise of the targets, 1 / ``snr``.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar

from dnal.base.errors import UserError
from dnal.theory.marchenko_pastur import marchenko_pastur

Array = NDArray[np.float64]


class Stop(NamedTuple):
    """When the error is least. ``time`` is infinite where it never rises again."""

    time: float
    error: float


def test_error(times: ArrayLike, alpha: float, snr: float, inr: float = 0.0) -> Array:  # noqa: PT028
    r"""The expected squared error on new samples.

    E_g(t) = integral of rho(l) [(1 + inr) e^(-2 l t) + (1 - e^(-l t))^2 / (l snr)] + 1 / snr, with the law rho of
    :func:`dnal.theory.marchenko_pastur.marchenko_pastur`; what lies at zero never moves, and keeps 1 + inr.

    Args:
        times: (T,), 0 or more; infinite ones too. alpha: samples over weights. snr: variance of the teacher's weights
            over that of the noise. inr: variance of the first weights over that of the teacher's.

    Returns:
        (T,). At alpha = 1 it grows without end.

    Raises:
        UserError: a number out of range.

    Source:
        Advani and Saxe, arXiv 1710.03667; derived again, and held to simulations.

    Examples:
        >>> test_error([0, 3, np.inf], alpha=0.5, snr=5).round(2)
        array([1.2 , 0.83, 0.9 ])
    """
    at = _times(times)
    _check(snr, inr)
    law = marchenko_pastur(alpha)
    faded = np.exp(-np.multiply.outer(at, law.eigenvalues))  # inf * positive: gone
    forgotten = (1 + inr) * (faded**2 @ law.weights + law.at_zero)
    learnt = (1 - faded) ** 2 @ (law.weights / law.eigenvalues) / snr
    if alpha == 1:
        learnt = np.where(np.isinf(at), np.inf, learnt)
    found: Array = forgotten + learnt + 1 / snr
    return found


def train_error(times: ArrayLike, alpha: float, snr: float, inr: float = 0.0) -> Array:
    r"""The expected squared error on the samples that are trained on.

    E_t(t) = 1/alpha integral over l > 0 of rho(l) [(1 + inr) l + 1 / snr] e^(-2 l t) + (1 - 1/alpha)_+ / snr.

    Args:
        times, alpha, snr, inr: as in :func:`test_error`.

    Returns:
        (T,).

    Raises:
        UserError: a number out of range.

    Source:
        derived for this library from the modes of arXiv 1710.03667.

    Examples:
        >>> train_error([0, np.inf], alpha=2, snr=5).round(2)
        array([1.2, 0.1])
    """
    at = _times(times)
    _check(snr, inr)
    law = marchenko_pastur(alpha)
    faded = np.exp(-2 * np.multiply.outer(at, law.eigenvalues))
    moving = faded @ (law.weights * ((1 + inr) * law.eigenvalues + 1 / snr)) / alpha
    found: Array = moving + max(0.0, 1 - 1 / alpha) / snr
    return found


def last_error(alpha: float, snr: float, inr: float = 0.0) -> float:
    """:func:`test_error` after training without end, written out.

    (1 - alpha)(1 + inr) + alpha / ((1 - alpha) snr) + 1 / snr below alpha = 1, 1 / ((alpha - 1) snr) + 1 / snr above.

    Examples:
        >>> [round(last_error(alpha, 5), 3) for alpha in (0.5, 1, 2, 4)]
        [0.9, inf, 0.4, 0.267]
    """
    _check(snr, inr)
    if alpha == 1:
        return math.inf
    if alpha < 1:
        return (1 - alpha) * (1 + inr) + alpha / ((1 - alpha) * snr) + 1 / snr
    return 1 / (snr * (alpha - 1)) + 1 / snr


def best_stop(alpha: float, snr: float, inr: float = 0.0) -> Stop:
    """The one time at which :func:`test_error` is least, and the error there.

    Examples:
        >>> stop = best_stop(1, 5)
        >>> f"after {stop.time:.1f}: {stop.error:.3f} instead of {last_error(1, 5)}"
        'after 3.1: 0.568 instead of inf'
    """
    grid = np.geomspace(1e-3, 1e5, 160)
    errors = test_error(grid, alpha, snr, inr)
    place = int(errors.argmin())
    if place in (0, len(grid) - 1):
        return Stop(float(grid[place]) if place == 0 else math.inf, float(errors[place]))
    found = minimize_scalar(
        lambda log: float(test_error([math.exp(log)], alpha, snr, inr)[0]),
        bounds=(math.log(grid[place - 1]), math.log(grid[place + 1])), method="bounded", options={"xatol": 1e-6},
    )  # fmt: skip
    return Stop(math.exp(found.x), float(found.fun))


def stop_of_mode(eigenvalues: ArrayLike, snr: float, inr: float = 0.0) -> Array:
    """When each mode by itself would have to stop: ln(1 + snr l (1 + inr)) / l.

    Args:
        eigenvalues: (n,), positive.

    Returns:
        (n,): large modes are done early; one time for all is a compromise.

    Examples:
        >>> stop_of_mode([0.1, 4.0], snr=5).round(2)
        array([4.05, 0.76])
    """
    _check(snr, inr)
    own = np.asarray(eigenvalues, dtype=np.float64)
    if not (own > 0).all():
        raise UserError("modes whose eigenvalue is 0 never move; give the positive eigenvalues.")
    found: Array = np.log1p(snr * own * (1 + inr)) / own
    return found


def ridge_error(alpha: float, snr: float, ridge: float | None = None) -> float:
    """The test error of ridge regression, w = (X X^T + ridge)^-1 X y.

    Integral of rho(l) [ridge^2 + l / snr] / (l + ridge)^2 + 1 / snr. The best ridge is 1 / ``snr``: no time of
    stopping from zero weights is better.

    Args:
        ridge: 0 or more; None: the best one.

    Examples:
        >>> ridge_error(1, 5) < best_stop(1, 5).error < 1.03 * ridge_error(1, 5)
        True
    """
    _check(snr, 0.0)
    own = 1 / snr if ridge is None else ridge
    if not own >= 0:
        raise UserError(f"a ridge is 0 or more, not {ridge}.")
    if own == 0:
        return last_error(alpha, snr)
    law = marchenko_pastur(alpha)
    held = (own**2 + law.eigenvalues / snr) / (law.eigenvalues + own) ** 2
    return float(law.weights @ held) + law.at_zero + 1 / snr


def _times(times: ArrayLike) -> Array:
    at = np.atleast_1d(np.asarray(times, dtype=np.float64))
    if not (at >= 0).all():
        raise UserError("times are 0 or more, in units of steps times learning rate.")
    return at


def _check(snr: float, inr: float) -> None:
    if not (snr > 0 and math.isfinite(snr)):
        raise UserError(f"snr is signal over noise, a positive number, not {snr}; without noise give a large one.")
    if not (inr >= 0 and math.isfinite(inr)):
        raise UserError(f"inr is the variance of the first weights over the teacher's, 0 or more, not {inr}.")
