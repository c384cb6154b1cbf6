"""Closed forms of the linear student against random matrices, simulations and the numbers of its card."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from dnal.base.errors import UserError
from dnal.theory import linear_dynamics as theory
from dnal.theory.deep_linear import mode_strength
from dnal.theory.gradient_flow import draw, largest_rate, simulate, weights_over_time
from dnal.theory.marchenko_pastur import marchenko_pastur


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
@pytest.mark.parametrize(
    "function", [np.ones_like, np.sqrt, lambda x: np.exp(-x), lambda x: x**3, lambda x: 1 / (1 + x)]
)  # fmt: skip
def test_integrals_are_means_over_the_eigenvalues_of_numpy(alpha: float, function: Callable[..., np.ndarray]) -> None:
    size = 400
    inputs = np.random.default_rng(0).normal(size=(size, int(alpha * size))) / math.sqrt(size)
    eigenvalues = np.linalg.eigvalsh(inputs @ inputs.T).clip(0)
    law = marchenko_pastur(alpha)
    ours = law.weights @ function(law.eigenvalues) + law.at_zero * function(np.zeros(1))[0]
    assert ours == pytest.approx(function(eigenvalues).mean(), rel=0.02)


@pytest.mark.parametrize("alpha", [0.3, 0.98, 1.02, 3.0])
def test_moments_and_inverses_are_those_of_the_law(alpha: float) -> None:
    law = marchenko_pastur(alpha)
    assert law.weights.sum() == pytest.approx(min(alpha, 1))
    assert law.weights @ law.eigenvalues == pytest.approx(alpha)
    assert law.weights @ law.eigenvalues**2 == pytest.approx(alpha + alpha**2)
    inverse = 1 / (alpha - 1) if alpha > 1 else alpha / (1 - alpha)
    assert law.weights @ (1 / law.eigenvalues) == pytest.approx(inverse)


@pytest.mark.parametrize(
    ("alpha", "inr", "time", "error", "digits"),
    [
        (0.5, 0, 3, 0.83, 2), (0.5, 0, math.inf, 0.90, 2), (1, 0, 3, 0.57, 2), (1, 0, 100, 1.46, 2),
        (1, 0, 1000, 4.3, 1), (2, 0, math.inf, 0.400, 3), (4, 0, math.inf, 0.267, 3), (0.5, 1, math.inf, 1.40, 2),
    ],
)  # fmt: skip
def test_known_values(alpha: float, inr: float, time: float, error: float, digits: int) -> None:
    (found,) = theory.test_error([time], alpha, 5, inr)
    assert found == pytest.approx(error, abs=0.5 * 10**-digits)


@pytest.mark.parametrize(("alpha", "inr"), [(0.5, 0.0), (0.5, 1.0), (1.0, 0.0), (2.0, 0.5)])
def test_simulated_students_follow_both_errors(alpha: float, inr: float) -> None:
    times = [0.0, 0.5, 3.0, 50.0]
    found = [simulate(100, int(100 * alpha), 5, times, inr, seed) for seed in range(40)]
    for own, told in (("test", theory.test_error), ("train", theory.train_error)):
        values = np.array([getattr(one, own) for one in found])
        error = values.std(0) / math.sqrt(len(values))
        expected = told(times, alpha, 5, inr)
        assert (abs(values.mean(0) - expected) < 4 * error + 0.015 * expected).all()


@pytest.mark.parametrize(("alpha", "inr"), [(0.5, 0.0), (0.5, 1.0), (2.0, 0.0), (2.0, 3.0)])
def test_the_last_error_is_the_limit(alpha: float, inr: float) -> None:
    (end,) = theory.test_error([math.inf], alpha, 5, inr)
    assert theory.last_error(alpha, 5, inr) == pytest.approx(end)
    assert theory.test_error([math.inf], 1, 5)[0] == theory.last_error(1, 5) == math.inf


def test_steps_of_gradient_descent_follow_the_flow() -> None:
    drawn = draw(20, 40, 5, 0.5, np.random.default_rng(0))
    rate, steps = 0.002 * largest_rate(2), 3000
    weights = drawn.start
    for _ in range(steps):
        weights = weights + rate * (drawn.targets - drawn.inputs @ weights) @ drawn.inputs
    (flow,) = weights_over_time(drawn.inputs, drawn.targets, [rate * steps], drawn.start)
    assert weights == pytest.approx(flow, abs=2e-3)
    assert abs(flow - drawn.start).max() > 0.5


def test_the_end_of_the_flow_is_least_squares_nearest_to_the_start() -> None:
    drawn = draw(30, 12, 5, 1.0, np.random.default_rng(1))
    (end,) = weights_over_time(drawn.inputs, drawn.targets, [math.inf], drawn.start)
    shift, *_ = np.linalg.lstsq(drawn.inputs, drawn.targets - drawn.inputs @ drawn.start, rcond=None)
    assert end == pytest.approx(drawn.start + shift)


@pytest.mark.parametrize("alpha", [0.4, 1.0, 3.0])
def test_no_time_of_stopping_beats_the_best_ridge_and_none_is_far_from_it(alpha: float) -> None:
    stop, ridge = theory.best_stop(alpha, 5), theory.ridge_error(alpha, 5)
    assert ridge <= stop.error <= 1.03 * ridge
    assert stop.error <= theory.test_error(np.geomspace(0.01, 1e4, 500), alpha, 5).min() + 1e-9
    assert all(theory.ridge_error(alpha, 5, other) > ridge for other in (0.02, 0.19, 0.21, 2.0))


def test_the_ridge_error_is_that_of_ridge_regression() -> None:
    errors = []
    for seed in range(60):
        drawn = draw(80, 80, 5, 0, np.random.default_rng(seed))
        held = drawn.inputs.T @ drawn.inputs + 0.2 * np.eye(80)
        weights = np.linalg.solve(held, drawn.inputs.T @ drawn.targets)
        errors.append(((weights - drawn.teacher) ** 2).mean() + drawn.noise)
    assert np.mean(errors) == pytest.approx(theory.ridge_error(1, 5), rel=0.02)


def test_a_mode_that_stops_at_its_own_time_has_the_posterior_error() -> None:
    """At its own best time a mode's error is that of the best ridge on it: 1 / (1 + snr l)."""
    own = np.array([0.1, 1.0, 4.0])
    faded = np.exp(-own * theory.stop_of_mode(own, 5))
    assert faded**2 + (1 - faded) ** 2 / (own * 5) == pytest.approx(1 / (1 + 5 * own))


@pytest.mark.parametrize("depth", [1, 2, 3, 5])
def test_a_mode_grows_as_descent_of_its_factors_does(depth: int) -> None:
    times, rate, start = np.array([0.0, 2.0, 0.5, 4.0]), 5e-4, 0.05
    factors = np.full(depth, start ** (1 / depth))
    seen = {0: start}
    for step in range(1, int(4 / rate) + 1):
        whole = factors.prod()
        factors = factors + rate * 1.5 * (0.8 - whole) * whole / factors
        seen[step] = factors.prod()
    expected = [seen[round(time / rate)] for time in times]
    assert mode_strength(times, 0.8, 1.5, depth, start) == pytest.approx(expected, abs=3e-3)


@pytest.mark.parametrize(
    "asked",
    [
        lambda: marchenko_pastur(0), lambda: theory.test_error([1], -1, 5), lambda: theory.test_error([-1], 1, 5),
        lambda: theory.train_error([1], 1, 0), lambda: theory.last_error(0.5, 5, -1),
        lambda: theory.stop_of_mode([0.0], 5), lambda: theory.ridge_error(1, 5, -1.0),
        lambda: weights_over_time(np.ones((3, 2)), np.ones(2), [1]), lambda: mode_strength([1], 1, 1, 2, 0),
        lambda: mode_strength([math.inf], 1, 1, 3, 0.1),
    ],
)  # fmt: skip
def test_numbers_out_of_range_are_refused(asked: Callable[[], object]) -> None:
    with pytest.raises(UserError):
        asked()
