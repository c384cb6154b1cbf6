"""What random-feature ridge regression will err, from the eigenvalues of its kernel; more is better there.

Throughout, the ridge is added to the kernel matrix of the n samples as it is, not n times; the features' kernel is
their mean over the k features; ``coefficients`` are those of the target in the eigenbasis of the population's kernel.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq, minimize_scalar

from dnal.base.errors import UserError

Array = NDArray[np.float64]


class Constants(NamedTuple):
    """The two implicit constants, and what they make of the spectrum: z = sum of l / (l + gamma), of its squares q."""

    kappa: float
    gamma: float
    z: float
    q: float


class Expected(NamedTuple):
    """Expected mean squared errors on new samples and on those trained on."""

    test: float
    train: float


class Ridge(NamedTuple):
    """A ridge, and the test error that is expected there."""

    ridge: float
    test: float


def implicit_constants(eigenvalues: ArrayLike, n: float, k: float, ridge: float) -> Constants:
    r"""kappa and gamma with n = z + ridge / kappa and k = z + k kappa / gamma, where z = sum of l / (l + gamma).

    kappa = gamma (k - z) / k is put into the first equation: (n - z) kappa = ridge, whose left side only rises with
    gamma from the point where z = min(n, k). That point is found first, so that there is always a bracket; a ridge
    that the numbers cannot tell from 0 is taken for 0.

    Args:
        eigenvalues: of the kernel, (M,), 0 or more. n: samples. k: features, infinite for the kernel itself. ridge: 0
            or more.

    Raises:
        UserError: a number out of range; no ridge although there are not more modes than samples or features.

    Source:
        Simon, Karkada, Ghosh and Belkin, arXiv 2311.14646.

    Examples:
        >>> found = implicit_constants([1.0, 1.0, 1.0], n=2, k=math.inf, ridge=1.0)
        >>> print(f"{found.z + 1 / found.kappa:.6f}")
        2.000000
    """
    own = _spectrum(eigenvalues)
    if not (n > 0 and math.isfinite(n) and k > 0 and ridge >= 0 and math.isfinite(ridge)):
        raise UserError("n is a positive number, k one or infinite, and the ridge is 0 or more.")

    def z_at(log: float) -> float:
        return float((own / (own + math.exp(log))).sum())

    def kappa_at(log: float) -> float:
        return math.exp(log) * (1.0 if math.isinf(k) else (k - z_at(log)) / k)

    least = min(n, k)
    high = math.log(2 * own.sum() / least)  # there z is at most half of it
    if len(own) > least:
        lowest = math.log(own.min() * min(1.0, (len(own) / least - 1) / 2))
        low = float(brentq(lambda log: z_at(log) - least, lowest, high, xtol=1e-14, rtol=1e-14))
    elif ridge == 0:
        raise UserError(f"with {len(own)} modes and {least:g} samples or features everything is learnt; give a ridge.")
    else:
        low = high + min(0.0, math.log(ridge / n) - high) - 50.0
    if ridge > 0:
        high = max(high, math.log(4 * ridge / n))

        def over(log: float) -> float:
            value = (n - z_at(log)) * kappa_at(log)
            return math.log(value / ridge) if value > 0 else -math.inf

        if over(low) < 0:
            low = float(brentq(lambda log: max(over(log), -1e3), low, high, xtol=1e-14, rtol=1e-14))
    held = own / (own + math.exp(low))
    return Constants(max(0.0, kappa_at(low)), math.exp(low), float(held.sum()), float((held**2).sum()))


def expected_errors(
    eigenvalues: ArrayLike, coefficients: ArrayLike, n: float, k: float, ridge: float, noise: float = 0.0
) -> Expected:
    r"""Test and training error of ridge regression on k random features and n samples.

    E_te = [sum (gamma / (l + gamma) - kappa l / (l + gamma)^2 k / (k - q)) v^2 + noise]
    / (1 - (q (k - 2 z) + z^2) / (n (k - q))), and E_tr = (ridge / (n kappa))^2 E_te.

    Args:
        eigenvalues, coefficients: (M,): l and v. n: samples. k: features, or infinite. ridge: 0 or more.
        noise: variance of the targets' noise, which both errors hold.

    Returns:
        infinite errors at the peak (no ridge, n = k).

    Raises:
        UserError: as :func:`implicit_constants`.

    Source:
        arXiv 2311.14646 and its code; held to simulations.

    Examples:
        >>> modes = np.arange(1, 2001) ** -1.3
        >>> coefficients = np.sqrt(np.arange(1, 2001) ** -1.5 / (np.arange(1, 2001) ** -1.5).sum())
        >>> [round(expected_errors(modes, coefficients, 128, k, 0.1).test, 3) for k in (256, 1024)]
        [0.179, 0.12]
    """
    own, v = np.asarray(eigenvalues, dtype=np.float64), np.asarray(coefficients, dtype=np.float64)
    if own.shape != v.shape:
        raise UserError(f"there is a coefficient for each eigenvalue, not {v.shape} for {own.shape}.")
    kappa, gamma, z, q = implicit_constants(own, n, k, ridge)
    if math.isinf(k):
        lost, times = q / n, 1.0
    else:
        lost, times = (q * (k - 2 * z) + z**2) / (n * (k - q)), k / (k - q)
    unlearnt = gamma / (own + gamma) - kappa * own / (own + gamma) ** 2 * times
    if lost >= 1 - 1e-12:
        return Expected(math.inf, math.inf)
    test = float((unlearnt @ v**2 + noise) / (1 - lost))
    return Expected(test, ((n - z) / n) ** 2 * test)  # ridge / kappa = n - z


def best_ridge(eigenvalues: ArrayLike, coefficients: ArrayLike, n: float, k: float, noise: float = 0.0) -> Ridge:
    """The ridge with the least expected test error; there, more features and more samples never hurt.

    Examples:
        >>> modes = np.arange(1, 2001) ** -1.3
        >>> v = np.sqrt(np.arange(1, 2001) ** -1.5 / (np.arange(1, 2001) ** -1.5).sum())
        >>> [round(best_ridge(modes, v, 128, k).test, 3) for k in (16, 128, 1024)]
        [0.425, 0.195, 0.12]
    """
    trace = float(_spectrum(eigenvalues).sum())

    def error(log: float) -> float:
        return expected_errors(eigenvalues, coefficients, n, k, math.exp(log), noise).test

    grid = np.linspace(math.log(1e-10 * trace), math.log(1e2 * trace), 60)
    errors = [error(log) for log in grid]
    place = int(np.argmin(errors))
    ends = grid[max(place - 1, 0)], grid[min(place + 1, len(grid) - 1)]
    found = minimize_scalar(error, bounds=ends, method="bounded", options={"xatol": 1e-4})
    if found.fun < errors[place]:
        return Ridge(math.exp(found.x), float(found.fun))
    return Ridge(math.exp(grid[place]), float(errors[place]))


def best_fitting_ratio(a: float, b: float, noise: float) -> float:
    """Training over test error at the best ridge, for eigenvalues i^-a and squared coefficients i^-b.

    R = r^2, where a - b - (a - 1) b r + a (a - 1) noise (1 - r)^b = 0; 0, that is interpolation, is best where the
    left side is not positive at r = 0: noise <= (b - a) / (a (a - 1)).

    Args:
        a: more than 1. b: more than 1 and less than 2 a + 1. noise: over the test error without noise and ridge.

    Raises:
        UserError: exponents out of range.

    Source:
        theorem 2 of arXiv 2311.14646, recalled and derived again.

    Examples:
        >>> best_fitting_ratio(1.5, 1.8, 0), round(best_fitting_ratio(1.5, 1.8, 2), 2)
        (0.0, 0.14)
    """
    if not (a > 1 and 1 < b < 2 * a + 1 and noise >= 0):
        raise UserError("a is more than 1, b between 1 and 2 a + 1, and the noise 0 or more.")

    def slope(r: float) -> float:
        return float(a - b - (a - 1) * b * r + a * (a - 1) * noise * (1 - r) ** b)

    return 0.0 if slope(0.0) <= 0 else float(brentq(slope, 0.0, 1.0)) ** 2


def _spectrum(eigenvalues: ArrayLike) -> Array:
    own = np.asarray(eigenvalues, dtype=np.float64)
    if own.ndim != 1 or not (np.isfinite(own) & (own >= 0)).all() or not own.any():
        raise UserError("eigenvalues are numbers of 0 or more in one row, and one is positive.")
    positive: Array = own[own > own.max() * 1e-300]
    return positive
