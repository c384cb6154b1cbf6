"""What the layers' times sum up to in a whole network: one factor per class of layer, and a constant."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

TRUST = 0.1
"""How firmly a factor is held to the one that all classes share: a class that hardly shows in the measured networks
keeps that one."""

Array = npt.NDArray[np.float64]


def calibrated(sums: Array, measured: Array) -> tuple[Array, float]:
    """Factors (classes,) and a constant in milliseconds, none negative, least in relative squared error.

    Args:
        sums: (networks, classes), the layers' milliseconds by class. measured: (networks,), of the whole networks.

    Method: non-negative least squares (Lawson and Hanson, 1974) of the relative errors, with a ridge around the best
    common factor.
    """
    shares = sums / measured[:, None]
    total = shares.sum(axis=1)
    common = float(total.sum() / (total @ total)) if total.any() else 1.0
    classes = sums.shape[1]
    hold = TRUST * np.sqrt(len(measured) / classes)
    used = shares.any(axis=0)
    rows = np.vstack(
        (np.column_stack((shares, 1 / measured)), np.column_stack((hold * np.eye(classes), np.zeros(classes))))
    )
    goal = np.concatenate((np.ones(len(measured)), np.full(classes, hold * common)))
    found, _ = nnls(rows, goal)
    return np.where(used, found[:-1], common), float(found[-1])
