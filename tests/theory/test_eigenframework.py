"""The eigenframework against ridge regression that is run, its own equations, and the numbers of its card."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from dnal.base.errors import UserError
from dnal.theory.eigenframework import best_fitting_ratio, best_ridge, expected_errors, implicit_constants
from dnal.theory.kernel_regression import (
    arc_cosine_kernel,
    fit,
    measured_spectrum,
    power_law_features,
    random_relu,
)

ORDER = np.arange(1, 2001)
MODES = ORDER**-1.3
COEFFICIENTS = np.sqrt(ORDER**-1.5 / (ORDER**-1.5).sum())


@pytest.mark.parametrize("n", [3.0, 128.0, 5000.0])
@pytest.mark.parametrize("k", [3.0, 127.999, 128.0, 4000.0, math.inf])
@pytest.mark.parametrize("ridge", [1e-9, 1e-3, 1.0, 1e5])
def test_the_constants_solve_their_equations(n: float, k: float, ridge: float) -> None:
    found = implicit_constants(MODES, n, k, ridge)
    assert found.gamma > 0
    assert found.z == pytest.approx((MODES / (MODES + found.gamma)).sum())
    assert found.kappa * (n - found.z) == pytest.approx(ridge, rel=1e-4, abs=1e-11)
    if math.isfinite(k):
        assert found.kappa == pytest.approx(found.gamma * (1 - found.z / k), rel=1e-6, abs=1e-15)
    else:
        assert found.kappa == found.gamma


@pytest.mark.parametrize(
    ("k", "ridge", "test", "train"),
    [(64, 1.0, 0.254, 0.118), (128, 1e-3, 1.80, None), (256, 0.1, 0.179, None), (1024, 1e-3, 0.121, None)],
)
def test_known_values(k: int, ridge: float, test: float, train: float | None) -> None:
    found = expected_errors(MODES, COEFFICIENTS, 128, k, ridge)
    assert found.test == pytest.approx(test, rel=0.005)
    assert train is None or found.train == pytest.approx(train, rel=0.005)


@pytest.mark.parametrize(
    ("noise", "known"), [(0, (0.425, 0.249, 0.195, 0.159, 0.120)), (0.25, (0.693, 0.534, 0.490, 0.462, 0.435))]
)
def test_at_the_best_ridge_more_features_are_better(noise: float, known: tuple[float, ...]) -> None:
    found = [best_ridge(MODES, COEFFICIENTS, 128, k, noise).test for k in (16, 64, 128, 256, 1024)]
    assert found == pytest.approx(known, abs=7e-4)
    assert found == sorted(found, reverse=True)
    assert best_ridge(MODES, COEFFICIENTS, 128, math.inf, noise).test < found[-1]
    assert best_ridge(MODES, COEFFICIENTS, 256, 64, noise).test < found[1]


@pytest.mark.parametrize(("k", "ridge", "noise"), [(32, 0.3, 0.0), (64, 0.3, 0.2), (256, 0.05, 0.2)])
def test_simulated_regressions_err_as_expected(k: int, ridge: float, noise: float) -> None:
    modes, coefficients = MODES[:400], COEFFICIENTS[:400]
    found = []
    for seed in range(24):
        rng = np.random.default_rng(seed)
        phi, y = power_law_features(modes, coefficients, 564, k, rng)
        y = y + math.sqrt(noise) * rng.normal(size=len(y))
        one = fit(phi[:64], y[:64], phi[64:], y[64:], [ridge])
        found.append((one.test[0], one.train[0]))
    mean, error = np.mean(found, 0), np.std(found, 0) / math.sqrt(len(found))
    expected = np.array(expected_errors(modes, coefficients, 64, k, ridge, noise))
    assert (abs(mean - expected) < 3.5 * error + 0.03 * expected).all()


def test_without_ridge_it_interpolates_or_has_as_many_parameters_as_features() -> None:
    wide, narrow = (expected_errors(MODES, COEFFICIENTS, 64, k, 0.0) for k in (256, 16))
    assert wide.train == pytest.approx(0, abs=1e-12)
    assert narrow.train == pytest.approx((1 - 16 / 64) ** 2 * narrow.test)
    assert expected_errors(MODES, COEFFICIENTS, 64, 64, 0.0).test == math.inf


@pytest.mark.parametrize(
    ("a", "b", "noise", "ratio"), [(1.5, 1.8, 0, 0), (1.5, 1.8, 2, 0.142), (1.5, 1.2, 0, 0.25), (1.2, 1.4, 1, 0.004)]
)
def test_the_best_fitting_ratio(a: float, b: float, noise: float, ratio: float) -> None:
    assert best_fitting_ratio(a, b, noise) == pytest.approx(ratio, abs=6e-4)


def test_many_random_features_have_the_kernel_of_the_arc_cosine() -> None:
    x = np.random.default_rng(0).normal(size=(6, 4))
    phi = random_relu(x, 40_000, np.random.default_rng(1))
    assert phi @ phi.T == pytest.approx(arc_cosine_kernel(x, x), abs=0.03)


def test_leaving_each_out_is_as_leaving_each_out() -> None:
    rng = np.random.default_rng(0)
    phi, y = rng.normal(size=(12, 5)), rng.normal(size=12)
    one_by_one = [
        fit(np.delete(phi, i, 0), np.delete(y, i), phi[[i]], y[[i]], [0.3]).test[0] for i in range(len(y))
    ]  # fmt: skip
    assert fit(phi, y, phi, y, [0.3]).left_out[0] == pytest.approx(np.mean(one_by_one))


def test_a_spectrum_that_was_measured_predicts_regressions_on_other_samples() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1500, 5))
    y = np.sin(x[:, 0]) + 0.5 * abs(x[:, 1])
    found = measured_spectrum(arc_cosine_kernel(x[500:], x[500:]), y[500:])
    assert found.squares.sum() == pytest.approx((y[500:] ** 2).mean())
    expected = expected_errors(found.eigenvalues, np.sqrt(found.squares), 40, 400, 0.1)
    errors = []
    for _ in range(12):
        chosen = rng.choice(500, 40, replace=False)
        phi = random_relu(x, 400, rng)
        errors.append(fit(phi[chosen], y[chosen], phi[500:], y[500:], [0.1]).test[0])
    assert np.mean(errors) == pytest.approx(expected.test, rel=0.1)


@pytest.mark.parametrize(
    "asked",
    [
        lambda: implicit_constants([1.0, 1.0], 2, 2, 0.0), lambda: implicit_constants([-1.0], 2, 2, 1.0),
        lambda: implicit_constants([1.0], 0, 2, 1.0), lambda: expected_errors([1.0], [1.0, 1.0], 2, 2, 1.0),
        lambda: best_fitting_ratio(1.0, 1.5, 0), lambda: fit(np.eye(2), np.ones(2), np.eye(2), np.ones(2), [0.0]),
        lambda: measured_spectrum(np.eye(2), np.ones(3)),
    ],
)  # fmt: skip
def test_numbers_out_of_range_are_refused(asked: Callable[[], object]) -> None:
    with pytest.raises(UserError):
        asked()
