"""Tuning over tasks: interpolation at its ends, curves against networks trained one by one, counts and gaps by hand."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from dnal.base.errors import UserError
from dnal.theory import tuning


def test_the_interpolated_activation_equals_its_ends() -> None:
    x = torch.linspace(-3, 3, 50)
    assert torch.equal(tuning.interpolated(x, 1.0), x.relu())
    assert torch.equal(tuning.interpolated(x, 0.0), x.tanh())
    assert torch.allclose(tuning.interpolated(x, 0.3), 0.3 * x.relu() + 0.7 * x.tanh())


def test_a_curve_is_that_of_networks_trained_one_by_one() -> None:
    generator = torch.Generator().manual_seed(3)
    x, y = torch.randn(2, 15, 2, generator=generator), torch.randn(2, 15, generator=generator)
    found = tuning.trace_duals(x, y, [0.0, 0.5, 1.0], hidden=4, restarts=1, steps=40, warm=False, seed=5)
    generator = torch.Generator().manual_seed(5)
    first = torch.randn(1, 1, 1, 2, 4, generator=generator)[0, 0, 0] / math.sqrt(2)
    last = torch.randn(1, 1, 1, 4, 1, generator=generator)[0, 0, 0] / 2
    for task in range(2):
        for place, alpha in enumerate((0.0, 0.5, 1.0)):
            own = [first.clone(), torch.zeros(4), last.clone(), torch.zeros(1)]
            for one in own:
                one.requires_grad_()
            optimizer = torch.optim.Adam(own, lr=0.02)
            losses = []
            for _ in range(41):
                before = x[task] @ own[0] + own[1]
                h = alpha * before.relu() + (1 - alpha) * before.tanh()
                loss = ((h @ own[2] + own[3])[:, 0] - y[task]).square().mean()
                losses.append(float(loss.detach()))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            assert found[task, place] == pytest.approx(max(0, 1 - min(losses)), abs=2e-4)


def test_more_starts_and_warm_ones_are_never_worse() -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(3, 12, 2, generator=generator), torch.randn(3, 12, generator=generator)
    cold = tuning.trace_duals(x, y, [0.0, 0.5, 1.0], restarts=2, steps=30, warm=False)
    assert (tuning.trace_duals(x, y, [0.0, 0.5, 1.0], restarts=2, steps=30) >= cold - 1e-6).all()
    assert ((cold >= 0) & (cold <= 1)).all()


@pytest.mark.parametrize(
    ("curve", "jumps", "turns"),
    [
        ([0, 0.05, 0.09, 0.2], 1, 0), ([0, 0.05, 0.0, 0.05], 0, 2), ([0, 0.005, 0.0, 0.005], 0, 0),
        ([0.5, 0.5, 0.5], 0, 0), ([0, 0.5, 0.495, 0.58, 0.1], 2, 1), ([0.3], 0, 0),
        ([0.0, 0.02, 0.015, 0.008, 0.0], 0, 1),
    ],
)  # fmt: skip
def test_oscillations_are_counted(curve: list[float], jumps: int, turns: int) -> None:
    assert tuning.oscillations(curve) == (jumps, turns)


def test_the_gap_falls_as_one_over_the_root_of_the_tasks() -> None:
    performance = np.random.default_rng(0).random((2000, 5))
    gaps = [tuning.uniform_gap(performance, number) for number in (4, 16, 64)]
    assert np.polyfit(np.log([4, 16, 64]), np.log(gaps), 1)[0] == pytest.approx(-0.5, abs=0.06)
    spread = [[0.0], [1.0]]
    assert tuning.uniform_gap(np.array(spread), 1, others=np.full((1, 1), 0.5)) == 0.75
    assert tuning.choose(performance - np.eye(5)[2] * -1).place == 2


def test_orders_of_bounds() -> None:
    assert tuning.dimension_of_pieces(100) == pytest.approx(2 * tuning.dimension_of_pieces(10))
    assert tuning.dimension_of_pieces(4, 10, 8, 2) == pytest.approx(math.log(4) + 10 * math.log(16))
    assert tuning.dimension_of_oscillations(10, 90) == pytest.approx(math.log(100))
    assert tuning.dimension_of_activations(2, 50, 6, 40, 1, 3) == pytest.approx(200 * math.log(3) + 100 * math.log(240))
    assert tuning.gap_bound(math.log(20), 100, failure=0.05) == pytest.approx(math.sqrt(2 * math.log(20)) / 10)


@pytest.mark.parametrize(
    "asked",
    [
        lambda: tuning.trace_duals(torch.zeros(2, 3), torch.zeros(2, 3), [0.0]),
        lambda: tuning.uniform_gap(np.zeros((2, 3)), 2),
    ],
)  # fmt: skip
def test_what_does_not_belong_together_is_refused(asked: Callable[[], object]) -> None:
    with pytest.raises(UserError):
        asked()
