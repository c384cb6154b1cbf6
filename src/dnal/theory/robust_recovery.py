"""Low-rank matrices from corrupted measurements: the sub-gradient method with an over-estimated rank, from a small
start."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dnal.base.errors import UserError

Array = NDArray[np.float64]
Loss = Literal["l1", "l2"]


class Measured(NamedTuple):
    """A matrix and what was measured of it.

    Attributes:
        matrix: X (d, d), positive semi-definite. sensors: A (m, d, d), symmetric. values: y (m,) = <A, X> and what
            came on top.
    """

    matrix: Array
    sensors: Array
    values: Array


class Recovery(NamedTuple):
    """Of each step, (T + 1,): \\|U U^T - X\\|_F / \\|X\\|_F, and the norms of the part of U in X's range and outside.

    Attributes:
        factor: the last U (d, r').
    """

    error: Array
    signal: Array
    residual: Array
    factor: Array


def measure(
    size: int,
    rank: int,
    number: int,
    *,
    outliers: float = 0.0,
    spread: float = 10.0,
    noise: float = 0.0,
    seed: int = 0,
) -> Measured:
    """Gaussian measurements of a random matrix of a rank, with norm 1.

    Args:
        size: d. rank: r. number: m. outliers: share of the measurements to which N(0, spread^2) is added. noise:
            standard deviation of what is added to all.

    Raises:
        UserError: a number out of range.

    Examples:
        >>> found = measure(6, 2, 30)
        >>> found.sensors.shape, round(float(np.linalg.norm(found.matrix)), 6)
        ((30, 6, 6), 1.0)
    """
    if not (1 <= rank <= size and number >= 1 and 0 <= outliers < 1 and spread >= 0 and noise >= 0):
        raise UserError("the rank is at most the size, there are measurements, and outliers are a share below 1.")
    rng = np.random.default_rng(seed)
    factor = np.linalg.qr(rng.normal(size=(size, rank)))[0]
    matrix = factor @ factor.T / math.sqrt(rank)
    drawn = rng.normal(size=(number, size, size))
    sensors = (drawn + drawn.transpose(0, 2, 1)) / 2
    values = np.einsum("mij,ij->m", sensors, matrix)
    values = values + noise * rng.normal(size=number)
    values = values + np.where(rng.random(number) < outliers, spread * rng.normal(size=number), 0.0)
    return Measured(matrix, sensors, values)


def decay_for(start: float, step: float) -> float:
    """The factor by which the step shrinks, slow enough for a start of this size: 1 - step / log(1 / start), over 1.5.

    With a decay that ignores the start a tiny one never leaves the origin: the relative error stays 1.

    Examples:
        >>> round(decay_for(1e-3, 0.15), 4), decay_for(1e-6, 0.15) > decay_for(1e-3, 0.15)
        (0.9855, True)
    """
    if not (0 < start < 1 and step > 0):
        raise UserError("the start is between 0 and 1, and the step positive.")
    return 1 - step / (1.5 * math.log(1 / start))


def recover(
    measured: Measured,
    rank: int,
    *,
    start: float = 1e-3,
    step: float = 0.15,
    decay: float | None = None,
    steps: int = 600,
    loss: Loss = "l1",
    spectral: bool = True,
    seed: int = 0,
) -> Recovery:
    r"""The sub-gradient method on the mean absolute residual of y = <A, U U^T>, with steps that shrink.

    Q = mean of sign(<A_i, U U^T> - y_i) A_i; U goes to U - step decay^t / \\|Q\\|_F 2 Q U. The norm is that of Q: 2 Q
    U is tiny at the start, and to divide by it would undo the small start. The start is the top of the mean of
    sign(y_i) A_i, whose signs no outlier moves far.

    Args:
        rank: r', of U; it may be anything up to d. start: times the spectral start, which has the range of X. decay:
            None: as :func:`decay_for` says. loss: "l2" is the control: gradients of the mean squared residual, whose
            size the outliers set. spectral: otherwise the start is random, of the same size. seed: of a random start.

    Raises:
        UserError: a rank that the matrix has not got.

    Source:
        Ma and Fattahi, arXiv 2202.08788; which norm divides Q is not verified, and Frobenius' works.

    Examples:
        >>> measured = measure(8, 1, 160, outliers=0.2)
        >>> [bool(recover(measured, rank).error[-1] < 1e-2) for rank in (1, 8)]
        [True, True]
    """
    size, number = len(measured.matrix), len(measured.values)
    if not 1 <= rank <= size:
        raise UserError(f"the rank of a matrix of {size} rows is 1 to {size}, not {rank}.")
    flat, y = measured.sensors.reshape(number, -1), measured.values
    shrink = decay_for(start, step) if decay is None else decay
    u = start * _spectral_start(flat, y, size, rank)
    if not spectral:
        random = np.random.default_rng(seed).normal(size=u.shape)
        u = random * np.linalg.norm(u) / np.linalg.norm(random)
    values, vectors = np.linalg.eigh(measured.matrix)
    range_of = vectors[:, values > 1e-9 * values.max()]
    scale = float(np.linalg.norm(measured.matrix))
    course = []
    for t in range(steps + 1):
        gap = u @ u.T
        inside = range_of.T @ u
        course.append(
            (
                np.linalg.norm(gap - measured.matrix) / scale, np.linalg.norm(inside),
                np.linalg.norm(u - range_of @ inside),
            )
        )  # fmt: skip
        residual = flat @ gap.ravel() - y
        q = ((np.sign(residual) if loss == "l1" else residual) @ flat).reshape(size, size) / number
        u = u - step * shrink**t / max(float(np.linalg.norm(q)), 1e-300) * 2 * (q @ u)
    error, signal, rest = np.array(course).T
    return Recovery(error, signal, rest, u)


def _spectral_start(flat: Array, y: Array, size: int, rank: int) -> Array:
    """B with B B^T nearest to the mean of sign(y) A: (d, rank)."""
    values, vectors = np.linalg.eigh((np.sign(y) @ flat).reshape(size, size) / len(y))
    found: Array = vectors[:, ::-1][:, :rank] * np.sqrt(values[::-1][:rank].clip(0))
    return found
