"""The Marchenko-Pastur law: the eigenvalues of X X^T of a large random matrix."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dnal.base.errors import UserError

NODES = 4000
"""Of the quadrature: with them 1 / lambda^2 is integrated to 1e-9 where alpha is at least 2 % away from 1."""


class Spectrum(NamedTuple):
    """A law of eigenvalues as points and weights, and what lies at zero.

    Attributes:
        eigenvalues: (nodes,), positive. weights: (nodes,) of them; they add up to min(alpha, 1).
        at_zero: the share of the eigenvalues that are zero, 1 - alpha or 0.
    """

    eigenvalues: NDArray[np.float64]
    weights: NDArray[np.float64]
    at_zero: float


def marchenko_pastur(alpha: float, nodes: int = NODES) -> Spectrum:
    r"""The eigenvalues of X X^T, X (N, P) with independent entries of variance 1 / N, where N and P = alpha N are
    large.

    The density is sqrt((high - lambda) (lambda - low)) / (2 pi lambda) between low and high = (sqrt(alpha) -+ 1)^2.
    With lambda = 1 + alpha + 2 sqrt(alpha) cos(theta) the roots at both ends go, and equal steps of theta converge
    exponentially.

    Args:
        alpha: P / N, more than 0. nodes: of the quadrature.

    Returns:
        points and weights: the integral of f is ``(weights * f(eigenvalues)).sum() + at_zero * f(0)``.

    Raises:
        UserError: alpha is not a positive number.

    Source:
        V. Marchenko and L. Pastur (1967), in the scaling of arXiv 1710.03667.

    Examples:
        >>> law = marchenko_pastur(0.5)
        >>> f"{law.weights.sum():.6f} {law.at_zero} {(law.weights * law.eigenvalues).sum():.6f}"
        '0.500000 0.5 0.500000'
    """
    if not (np.isfinite(alpha) and alpha > 0):
        raise UserError(f"alpha is samples over parameters, a positive number, not {alpha}.")
    theta = (np.arange(nodes) + 0.5) * np.pi / nodes
    half = 2 * np.sqrt(alpha)
    # 1 + alpha - half cos, without the cancellation at the lower end
    eigenvalues = (np.sqrt(alpha) - 1) ** 2 + half * 2 * np.sin(theta / 2) ** 2
    weights = half**2 * np.sin(theta) ** 2 / (2 * np.pi * eigenvalues) * (np.pi / nodes)
    return Spectrum(eigenvalues, weights, max(0.0, 1.0 - alpha))
