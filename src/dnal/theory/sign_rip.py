"""The Sign-RIP: how near the signs of corrupted Gaussian measurements come to the direction of a matrix."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dnal.base.errors import UserError
from dnal.base.statistics import Interval, mean

Array = NDArray[np.float64]


class Deviation(NamedTuple):
    """What was found of random matrices of a rank: ``phi`` is the mean of <Q, X> / \\|X\\|_F, ``delta`` the largest
    deviation \\|<Q, Y> - phi <X / \\|X\\|_F, Y>\\| / (phi \\|Y\\|_F)."""

    phi: float
    delta: float


def phi(norm: float, *, outliers: float = 0.0, spread: float = 10.0, noise: float = 0.0) -> float:
    r"""E sign(<A, X> + s) <A, X> / \\|X\\|_F for Gaussian A: how much of the direction of X the signs keep.

    sqrt(2 / pi) [(1 - p) g(noise) + p g(sqrt(noise^2 + spread^2))], g(s) = norm / sqrt(norm^2 + s^2).

    Args:
        norm: \\|X\\|_F. outliers: their probability p. spread: their standard deviation. noise: that of all.

    Returns:
        sqrt(2 / pi) where nothing is corrupted; never 0 with p below 1 and no noise, however large outliers are.

    Raises:
        UserError: a number out of range.

    Source:
        arXiv 2202.08788 writes the factor of an outlier of size s as E exp(-s^2 / (2 \\|X\\|_F^2)); for normal s that
        is this g.

    Examples:
        >>> round(phi(1.0), 4), round(phi(1.0, outliers=0.2, spread=1e9), 4)
        (0.7979, 0.6383)
    """
    if not (norm > 0 and 0 <= outliers <= 1 and spread >= 0 and noise >= 0):
        raise UserError("the norm is positive, outliers are a share, and neither spread nor noise is negative.")

    def kept(size: float) -> float:
        return norm / math.hypot(norm, size)

    return math.sqrt(2 / math.pi) * ((1 - outliers) * kept(noise) + outliers * kept(math.hypot(noise, spread)))


def phi_by_chance(
    norm: float,
    *,
    outliers: float = 0.0,
    spread: float = 10.0,
    noise: float = 0.0,
    draws: int = 100_000,
    seed: int = 0,
) -> Interval:
    """:func:`phi` by Monte Carlo, with its interval of 99.9 %: <A, X> is normal with standard deviation \\|X\\|_F.

    Examples:
        >>> found = phi_by_chance(1.0, noise=0.5)
        >>> found.low < phi(1.0, noise=0.5) < found.high
        True
    """
    phi(norm, outliers=outliers, spread=spread, noise=noise)  # refuses what is out of range
    rng = np.random.default_rng(seed)
    own = rng.normal(size=draws)
    added = noise * rng.normal(size=draws)
    added += np.where(rng.random(draws) < outliers, spread * rng.normal(size=draws), 0.0)
    return mean(list(np.sign(norm * own + added) * own), 0.999)


def deviation(sensors: Array, added: Array, rank: int, *, draws: int = 50, seed: int = 0) -> Deviation:
    """How far measurements are from the Sign-RIP, as far as random matrices show it: a lower bound of its delta.

    Args:
        sensors: A (m, d, d), symmetric. added: s (m,), what comes on top of <A, X>. rank: of the matrices X and Y.
        draws: of X and of Y, of norm 1.

    Examples:
        >>> drawn = np.random.default_rng(0).normal(size=(2000, 5, 5))
        >>> found = deviation((drawn + drawn.transpose(0, 2, 1)) / 2, np.zeros(2000), rank=1)
        >>> bool(abs(found.phi - phi(1.0)) < 0.03), found.delta < 0.2
        (True, True)
    """
    rng = np.random.default_rng(seed)
    size = sensors.shape[1]
    pairs = []
    for _ in range(draws):
        x, y = (_of_rank(size, rank, rng) for _ in range(2))
        signs = np.sign(np.einsum("mij,ij->m", sensors, x) + added)
        q = np.einsum("m,mij->ij", signs, sensors) / len(signs)
        pairs.append(((q * x).sum(), (q * y).sum(), (x * y).sum()))
    along, across, overlap = np.array(pairs).T
    found = float(along.mean())
    return Deviation(found, float(max(abs(across - found * overlap).max(), abs(along - found).max()) / found))


def _of_rank(size: int, rank: int, rng: np.random.Generator) -> Array:
    left = rng.normal(size=(size, rank))
    found = (left * rng.choice([-1.0, 1.0], size=rank)) @ left.T
    return np.asarray(found / np.linalg.norm(found), dtype=np.float64)
