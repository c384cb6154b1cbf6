"""What the layers' times sum up to in a whole network: one factor per family of layers, and a constant."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

TRUST = 0.4
"""How firmly the factors are held, together, to the one that all families share: a family that hardly shows in the
measured networks keeps that one, and the more networks there are, the less it counts."""

Array = npt.NDArray[np.float64]


def calibrated(sums: Array, measured: Array, weights: Array | None = None) -> tuple[Array, float]:
    """Factors (families,) and a constant in milliseconds, none negative, least in relative squared error.

    Args:
        sums: (networks, families), the layers' milliseconds by family. measured: (networks,), of the whole networks.
        weights: (networks,), how often each counts; once by default.

    Method: non-negative least squares (Lawson and Hanson, 1974) of the relative errors, with a ridge around the factor
    that is best where all families share one.
    """
    shares = sums / measured[:, None]
    total = shares.sum(axis=1)
    scale = np.ones(len(measured)) if weights is None else np.sqrt(weights)
    alone, _ = nnls(scale[:, None] * np.column_stack((total, 1 / measured)), scale)
    common = float(alone[0]) if total.any() else 1.0
    families = sums.shape[1]
    hold = TRUST / np.sqrt(families)
    used = shares.any(axis=0)
    networks = scale[:, None] * np.column_stack((shares, 1 / measured))
    rows = np.vstack((networks, np.column_stack((hold * np.eye(families), np.zeros(families)))))
    goal = np.concatenate((scale, np.full(families, hold * common)))
    found, _ = nnls(rows, goal)
    return np.where(used, found[:-1], common), float(found[-1])
