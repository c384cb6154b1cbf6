"""Sub-gradient method and Sign-RIP: phi by Monte Carlo and quadrature, what recovers a matrix and what does not."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from dnal.base.errors import UserError
from dnal.theory.robust_recovery import decay_for, measure, recover
from dnal.theory.sign_rip import deviation, phi, phi_by_chance

CASES = [(1.0, 0.0, 10.0, 0.0), (1.0, 0.3, 10.0, 0.0), (2.0, 0.0, 10.0, 0.5), (0.3, 0.4, 1.0, 0.2)]


@pytest.mark.parametrize(("norm", "outliers", "spread", "noise"), CASES)
def test_phi_is_that_of_monte_carlo(norm: float, outliers: float, spread: float, noise: float) -> None:
    given = {"outliers": outliers, "spread": spread, "noise": noise}
    found = phi_by_chance(norm, **given)
    assert found.low < phi(norm, **given) < found.high
    assert found.high - found.low < 0.02


@pytest.mark.parametrize("spread", [0.1, 1.0, 10.0])
def test_an_outlier_keeps_what_the_paper_says(spread: float) -> None:
    """The factor of an outlier, E exp(-s^2 / (2 norm^2)), by quadrature."""
    expected, _ = integrate.quad(
        lambda s: math.exp(-(s**2) / (2 * 1.5**2)) * stats.norm.pdf(s, scale=spread), -40 * spread, 40 * spread,
        points=[0], limit=200,
    )  # fmt: skip
    assert phi(1.5, outliers=1.0, spread=spread) == pytest.approx(math.sqrt(2 / math.pi) * expected, rel=1e-5)


def test_more_measurements_are_nearer_to_the_sign_rip_and_low_ranks_too() -> None:
    def delta(number: int, rank: int) -> float:
        measured = measure(12, 1, number)
        return deviation(measured.sensors, np.zeros(number), rank, draws=40).delta

    assert delta(4000, 1) < delta(250, 1)
    outliers = measure(12, 1, 6000, outliers=0.3)
    added = outliers.values - np.einsum("mij,ij->m", outliers.sensors, outliers.matrix)
    found = deviation(outliers.sensors, added, 2, draws=40)
    assert found.phi == pytest.approx(phi(1.0, outliers=0.3), abs=0.02)


def test_the_direction_is_a_sub_gradient_of_the_loss() -> None:
    """One step of the method, against torch's gradient of the mean absolute residual."""
    measured = measure(6, 2, 50, outliers=0.2, seed=1)
    before = recover(measured, 4, steps=0, start=0.3, step=1e-9).factor
    after = recover(measured, 4, steps=0, start=0.3, step=1e-3).factor
    u = torch.tensor(before, requires_grad=True)
    sensors, y = torch.tensor(measured.sensors), torch.tensor(measured.values)
    (slope,) = torch.autograd.grad((y - torch.einsum("mij,ij->m", sensors, u @ u.T)).abs().mean(), u)
    moved = before - after
    assert moved / np.linalg.norm(moved) == pytest.approx(slope.numpy() / float(slope.norm()), abs=1e-4)


@pytest.fixture(scope="module")
def errors() -> dict[str, float]:
    """Relative errors, d = 20, r = 2, m = 400, outliers in a fifth."""
    clean, corrupt = measure(20, 2, 400), measure(20, 2, 400, outliers=0.2)
    return {
        "clean 2": recover(clean, 2).error[-1], "clean 20": recover(clean, 20).error[-1],
        "2": recover(corrupt, 2).error[-1], "20": recover(corrupt, 20).error[-1],
        "coarse start": recover(corrupt, 20, start=0.1, decay=decay_for(1e-3, 0.15)).error[-1],
        "fast decay": recover(corrupt, 20, start=1e-6, decay=0.97).error[-1],
        "own decay": recover(corrupt, 20, start=1e-6, steps=1200).error[-1],
        "squared": recover(corrupt, 20, loss="l2").error[-1],
    }  # fmt: skip


def test_outliers_do_not_matter_and_hardly_does_the_rank(errors: dict[str, float]) -> None:
    assert max(errors["clean 2"], errors["clean 20"], errors["2"]) < 1e-3
    assert errors["20"] < 5e-3


def test_a_small_start_is_what_does_it_and_its_decay_must_fit(errors: dict[str, float]) -> None:
    assert errors["20"] < 0.5 * errors["coarse start"]
    assert errors["fast decay"] == pytest.approx(1, abs=0.01)
    assert errors["own decay"] < 1e-2


def test_squared_residuals_are_ruined_by_outliers(errors: dict[str, float]) -> None:
    assert errors["squared"] > 0.2


@pytest.mark.parametrize(
    "asked",
    [
        lambda: measure(3, 4, 5), lambda: measure(3, 1, 5, outliers=1.0), lambda: phi(0.0), lambda: decay_for(1.0, 0.1),
        lambda: recover(measure(3, 1, 5), 4),
    ],
)  # fmt: skip
def test_numbers_out_of_range_are_refused(asked: Callable[[], object]) -> None:
    with pytest.raises(UserError):
        asked()
