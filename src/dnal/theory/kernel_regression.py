"""Ridge regression with kernels and random features: the experiment, and what chooses its ridge."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dnal.base.errors import UserError

Array = NDArray[np.float64]


class Spectrum(NamedTuple):
    """A kernel's eigenvalues, falling, and the squared coefficients of a target in its eigenbasis, (M,) each."""

    eigenvalues: Array
    squares: Array


class Fit(NamedTuple):
    """Of every ridge: mean squared error on new samples, on those trained on, and when each of these is left out."""

    test: Array
    train: Array
    left_out: Array


def arc_cosine_kernel(x: Array, other: Array) -> Array:
    r"""The mean over directions w ~ N(0, I / d) of relu(w . x) relu(w . x'): |x| |x'| (sin t + (pi - t) cos t) / (2 pi
    d).

    Args:
        x: (N, d). other: (M, d).

    Returns:
        (N, M).

    Source:
        Cho and Saul (2009), the kernel of degree 1.

    Examples:
        >>> arc_cosine_kernel(np.eye(2), np.eye(2)).round(3)
        array([[0.25, 0.08],
               [0.08, 0.25]])
    """
    norms = np.multiply.outer(np.linalg.norm(x, axis=1), np.linalg.norm(other, axis=1))
    cosine = np.clip((x @ other.T) / np.where(norms > 0, norms, 1.0), -1, 1)
    angle = np.arccos(cosine)
    found: Array = norms * (np.sin(angle) + (np.pi - angle) * cosine) / (2 * np.pi * x.shape[1])
    return found


def random_relu(x: Array, features: int, rng: np.random.Generator) -> Array:
    """k features relu(w . x), w ~ N(0, I / d), (N, k), over sqrt(k): their products are a draw of the kernel above."""
    directions = rng.normal(size=(features, x.shape[1])) / np.sqrt(x.shape[1])
    found: Array = np.maximum(x @ directions.T, 0) / np.sqrt(features)
    return found


def measured_spectrum(kernel: Array, targets: Array) -> Spectrum:
    """Eigenvalues of a kernel and coefficients of a target, from samples other than those that are learnt.

    Args:
        kernel: (N, N) of many samples. targets: (N,).

    Returns:
        eigenvalues of the matrix over N, and squared projections of the target over N, which add up to its mean square.

    Raises:
        UserError: shapes that do not belong together.

    Examples:
        >>> x = np.random.default_rng(0).normal(size=(200, 3))
        >>> found = measured_spectrum(x @ x.T, x[:, 0])
        >>> found.eigenvalues[:4].round(1), f"{found.squares[:3].sum() / found.squares.sum():.6f}"
        (array([1.1, 1. , 0.9, 0. ]), '1.000000')
    """
    if kernel.shape != (len(targets), len(targets)):
        raise UserError(f"a kernel of {len(targets)} targets is a square matrix of them, not {kernel.shape}.")
    values, vectors = np.linalg.eigh(kernel / len(targets))
    squares = (vectors.T @ targets) ** 2 / len(targets)
    return Spectrum(values[::-1].clip(0), squares[::-1])


def fit(features: Array, targets: Array, new_features: Array, new_targets: Array, ridges: ArrayLike) -> Fit:
    """Ridge regression for every ridge at once, by one decomposition of the samples' kernel.

    A sample's error when it is left out is its residual over that of the hat matrix: (y - f)_i / (1 - H_ii).

    Args:
        features: (n, k), of which products are the kernel. targets: (n,). new_features: (Q, k). new_targets: (Q,).
        ridges: (R,), more than 0.

    Returns:
        (R,) each.

    Raises:
        UserError: a ridge that is not positive.

    Examples:
        >>> x = np.random.default_rng(0).normal(size=(30, 3))
        >>> fit(x[:20], x[:20, 0], x[20:], x[20:, 0], [1e-3, 1.0]).test.round(3)
        array([0.   , 0.002])
    """
    at = np.atleast_1d(np.asarray(ridges, dtype=np.float64))
    if not (at > 0).all():
        raise UserError("ridges are positive; a tiny one stands for none.")
    values, vectors = np.linalg.eigh(features @ features.T)
    inverse = 1 / (values.clip(0) + at[:, None])  # (R, n)
    duals = (inverse * (vectors.T @ targets)) @ vectors.T
    out = duals / (inverse @ (vectors**2).T)  # the residual when left out is dual_i / (K + ridge)^-1_ii
    test = duals @ (features @ new_features.T) - new_targets
    return Fit((test**2).mean(1), ((at[:, None] * duals) ** 2).mean(1), (out**2).mean(1))


def power_law_features(
    eigenvalues: Array, coefficients: Array, samples: int, features: int, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Gaussian data with the given kernel: random features (samples, features) of them, and clean targets (samples,).

    Args:
        eigenvalues, coefficients: (M,).
    """
    modes = rng.normal(size=(samples, len(eigenvalues)))
    mixed = np.random.default_rng(rng.integers(2**32)).normal(size=(len(eigenvalues), features)) / np.sqrt(features)
    return (modes * np.sqrt(eigenvalues)) @ mixed, modes @ coefficients
