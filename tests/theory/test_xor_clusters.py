"""XOR clusters: the facts of the first step and of later ones, and its shortcut by products against torch."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from dnal.base.errors import UserError
from dnal.theory.xor_clusters import Grokking, XorClusters, draw, grok


@pytest.fixture(scope="module")
def runs() -> list[Grokking]:
    return [grok(XorClusters(), [0, 1, 2, 5, 50], seed=seed) for seed in range(4)]


def test_the_first_step_fits_noisy_labels_and_is_chance_on_new_points(runs: list[Grokking]) -> None:
    for found in runs:
        assert found.train[1] >= 0.98
        assert found.clean[1] < 0.99
        assert abs(found.test[1] - 0.5) < 0.1
    assert np.mean([found.train[1] for found in runs]) > 0.99


def test_later_it_generalises_and_still_holds_the_flipped_labels(runs: list[Grokking]) -> None:
    for seed, found in enumerate(runs):
        rng = np.random.default_rng(seed)
        points = draw(XorClusters(), 100, 0.1, rng)
        assert found.train[-1] == 1
        assert found.test[-1] > 0.85
        assert found.clean[-1] == pytest.approx((points.clean == points.seen).mean())


def test_after_one_step_it_is_nearly_odd_and_then_its_neurons_turn_to_their_clusters(runs: list[Grokking]) -> None:
    for found in runs:
        assert found.linear[1] > 0.9 > found.linear[-1]
        assert found.aligned[-1] > 2 * found.aligned[1]


def test_from_a_large_start_it_does_not_generalise() -> None:
    found = grok(XorClusters(), [100], start=0.02)
    assert found.train[0] == 1
    assert found.test[0] < 0.75


def test_products_of_samples_train_as_the_weights_do() -> None:
    """The same points and first weights, in torch, step by step."""
    data, hidden, start, rate, seed = XorClusters(12, 30, 4.0, 0.1), 7, 0.3, 0.02, 3
    rng = np.random.default_rng(seed)
    seen, unseen = draw(data, 12, 0.1, rng), draw(data, 40, 0.0, rng)
    a = torch.tensor((2.0 * rng.integers(2, size=hidden) - 1) / math.sqrt(hidden))
    w = torch.tensor(start * rng.normal(size=(hidden, 30)), requires_grad=True)
    x, y = torch.tensor(seen.x), torch.tensor(seen.seen)

    def output(points: Tensor) -> Tensor:
        return (points @ w.T).relu() @ a

    for _ in range(25):
        loss = torch.nn.functional.softplus(-y * output(x)).mean()
        (slope,) = torch.autograd.grad(loss, w)
        with torch.no_grad():
            w -= rate * slope
    with torch.no_grad():
        value, mirrored = output(torch.tensor(unseen.x)), output(-torch.tensor(unseen.x))
        test = (value.sign().numpy() == unseen.clean).mean()
        odd = 1 - float(((value + mirrored) ** 2).mean() / (2 * (value**2 + mirrored**2).mean()))
        own = torch.where(a > 0, w[:, 0], w[:, 1]).abs() / w.norm(dim=1)
    found = grok(data, [25], hidden=hidden, rate=rate, start=start, new=40, seed=seed)
    assert found.test[0] == test
    assert found.linear[0] == pytest.approx(odd)
    assert found.aligned[0] == pytest.approx(float(own.mean()))


@pytest.mark.parametrize(
    "asked",
    [
        lambda: XorClusters(flipped=0.5), lambda: XorClusters(samples=0), lambda: grok(XorClusters(), []),
        lambda: grok(XorClusters(), [2, 1]), lambda: grok(XorClusters(), [1], start=0.0),
    ],
)  # fmt: skip
def test_numbers_out_of_range_are_refused(asked: Callable[[], object]) -> None:
    with pytest.raises(UserError):
        asked()
