"""How one mode of a deep linear network grows: slowly from a small start, then all at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.integrate import solve_ivp

from dnal.base.errors import UserError

Array = NDArray[np.float64]


def mode_strength(times: ArrayLike, goal: float, eigenvalue: float, depth: int, start: float) -> Array:
    """The product u of ``depth`` equal factors whose loss is eigenvalue / 2 (goal - u)^2, under gradient flow.

    du/dt = depth eigenvalue u^(2 - 2 / depth) (goal - u): exponential for one layer, the logistic curve for two, later
    and steeper for more. Layers of a network keep equal strength ("balanced") when they begin so.

    Args:
        times: (T,), 0 or more. goal: where it ends, positive. eigenvalue: of the inputs along the mode.
        depth: layers. start: u at time 0, positive where there is more than one layer: at 0 it would stay.

    Returns:
        (T,).

    Raises:
        UserError: a number out of range.

    Source:
        Saxe, McClelland and Ganguli, arXiv 1312.6120; arXiv 1710.03667 on why a small start protects. Recalled, and
        held to a gradient descent of the factors.

    Examples:
        >>> mode_strength([0, 2, 6], goal=1, eigenvalue=1, depth=2, start=0.01).round(2)
        array([0.01, 0.36, 1.  ])
    """
    at = np.atleast_1d(np.asarray(times, dtype=np.float64))
    if depth < 1 or not eigenvalue > 0 or not goal > 0 or not (start > 0 or (depth == 1 and start == 0)):
        raise UserError(
            "depth is 1 or more, goal and eigenvalue are positive, and so is start with more than one layer."
        )
    if not ((at >= 0) & np.isfinite(at)).all():
        raise UserError("times are 0 or more, and finite.")
    if depth == 1:
        return np.asarray(goal + (start - goal) * np.exp(-eigenvalue * at), dtype=np.float64)
    if depth == 2:
        return np.asarray(goal / (1 + (goal / start - 1) * np.exp(-2 * goal * eigenvalue * at)), dtype=np.float64)
    order = np.argsort(at)
    # of log u: it stays positive, and small starts keep their digits
    found = solve_ivp(
        lambda _, log: depth * eigenvalue * np.exp((1 - 2 / depth) * log) * (goal - np.exp(log)),
        (0.0, max(float(at.max()), 1e-12)), [np.log(start)], method="LSODA", t_eval=at[order], rtol=1e-9, atol=1e-11,
    )  # fmt: skip
    strength = np.empty_like(at)
    strength[order] = np.exp(found.y[0])
    return strength
