"""Kernel ridge regression and Gaussian processes, both with the kernel exp(-|x - y|^2 / 2 l^2)."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.linalg import solve_triangular
from scipy.spatial.distance import cdist
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.kernel_ridge import KernelRidge

from dnal.base.errors import UserError
from dnal.base.options import option
from dnal.predictors.of_features import Numbers, OfFeatures, check_shapes
from dnal.predictors.predictor import Arrays

MOST = 8192
"""Labelled architectures, of which the kernel is a matrix."""
AT_ONCE = 1024
"""Architectures that are predicted together."""


@dataclass(eq=False, repr=False)
class Ridge(OfFeatures):
    """Kernel ridge regression, by scikit-learn."""

    alpha: float = option(0.1, "How much it is smoothed.", above=0, most=1e6)
    reach: float = option(1.0, "Of the kernel, in roots of half the number of columns.", above=0, most=1e3)

    def _learn(self, encoded: Numbers, places: Numbers, unlabelled: object, rng: np.random.Generator) -> Arrays:
        _check_number(len(places))
        rows = self._drawn(len(places), rng)
        model = KernelRidge(kernel="rbf", gamma=self._gamma(encoded), alpha=self.alpha)
        model.fit(encoded[rows], places[rows] - 0.5)
        return {"x": encoded[rows], "weight": model.dual_coef_}

    def _answer(self, arrays: Arrays, encoded: Numbers) -> Numbers:
        gamma = self._gamma(encoded)
        return 0.5 + np.concatenate(
            [np.exp(-gamma * cdist(own, arrays["x"], "sqeuclidean")) @ arrays["weight"] for own in _parts(encoded)]
        )

    def _gamma(self, encoded: Numbers) -> float:
        return 1.0 / (self.reach**2 * int(encoded.shape[1]))

    def _check_arrays(self, arrays: Arrays) -> None:
        check_shapes(arrays, {"x": (None, len(self.features_.shift))})
        check_shapes(arrays, {"weight": (len(arrays["x"]),)})


@dataclass(eq=False, repr=False)
class GaussianProcess(OfFeatures):
    """A Gaussian process, by scikit-learn; scale, reach and noise are those of the largest likelihood.

    It says itself how sure it is, with one member too.
    """

    knows_spread: ClassVar[bool] = True

    restarts: int = option(0, "More starts of the search for the likelihood.", least=0, most=100)

    def _learn(self, encoded: Numbers, places: Numbers, unlabelled: object, rng: np.random.Generator) -> Arrays:
        _check_number(len(places))
        rows = self._drawn(len(places), rng)
        reach = RBF(np.sqrt(encoded.shape[1] / 2), (1e-2, 1e4))
        kernel = ConstantKernel(0.1, (1e-4, 1e2)) * reach + WhiteKernel(0.01, (1e-6, 1.0))
        model = GaussianProcessRegressor(
            kernel, n_restarts_optimizer=self.restarts, random_state=int(rng.integers(2**31))
        )
        with warnings.catch_warnings():  # a hyperparameter at its bound is an answer too
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(encoded[rows], places[rows] - 0.5)
        found = model.kernel_
        return {
            "x": encoded[rows], "weight": np.asarray(model.alpha_), "factor": np.tril(model.L_),
            "kernel": np.array([found.k1.k1.constant_value, found.k1.k2.length_scale, found.k2.noise_level]),
        }  # fmt: skip

    def _answer(self, arrays: Arrays, encoded: Numbers) -> Numbers:
        return 0.5 + np.concatenate([_covariance(arrays, own) @ arrays["weight"] for own in _parts(encoded)])

    def _spread(self, encoded: Numbers, answers: Numbers) -> Numbers:
        """Half of the distance between the values of a deviation above and below, and what members differ in."""
        own = []
        for arrays in self.members_:
            known = np.concatenate(
                [
                    np.square(solve_triangular(arrays["factor"], _covariance(arrays, part).T, lower=True)).sum(0)
                    for part in _parts(encoded)
                ]
            )
            scale, _, noise = arrays["kernel"]
            deviation = np.sqrt(np.maximum(scale + noise - known, 0))
            places = self._answer(arrays, encoded)
            above, below = (self.scale_.values_of(places + sign * deviation) for sign in (1, -1))
            own.append((above - below) / 2)
        found: Numbers = np.sqrt(np.square(own).mean(0) + answers.var(0))
        return found

    def _check_arrays(self, arrays: Arrays) -> None:
        check_shapes(arrays, {"x": (None, len(self.features_.shift)), "kernel": (3,)})
        number = len(arrays["x"])
        check_shapes(arrays, {"weight": (number,), "factor": (number, number)})
        if (arrays["kernel"] <= 0).any() or (np.diag(arrays["factor"]) <= 0).any():
            raise UserError("its kernel is none.")


def _covariance(arrays: Arrays, encoded: Numbers) -> Numbers:
    scale, reach, _ = arrays["kernel"]
    found: Numbers = scale * np.exp(-0.5 * cdist(encoded / reach, arrays["x"] / reach, "sqeuclidean"))
    return found


def _parts(encoded: Numbers) -> list[Numbers]:
    """Rows whose kernel is one matrix."""
    return [encoded[start : start + AT_ONCE] for start in range(0, max(len(encoded), 1), AT_ONCE)]


def _check_number(labels: int) -> None:
    if labels > MOST:
        raise UserError(f"{labels:,} labels make too large a matrix; give at most {MOST:,}, or take boosting.")
