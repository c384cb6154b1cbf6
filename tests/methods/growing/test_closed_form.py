"""The closed form of new neurons, against what it says of itself, least squares, gradients and gromo."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from dnal.methods.growing.closed_form import (
    Bottleneck,
    best_update,
    bottleneck,
    gradmax_neurons,
    inverse_root,
    neurons,
    random_neurons,
)

ROWS = 400


def samples(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    """What writer and reader read, with a column of ones each, and a goal that neither can follow alone."""
    draw = torch.Generator().manual_seed(0)
    ones = torch.ones(ROWS, 1, dtype=dtype)
    inputs = torch.cat([torch.randn(ROWS, 6, generator=draw, dtype=dtype), ones], 1)
    weights = torch.randn(7, 3, generator=draw, dtype=dtype)
    read = torch.cat([torch.relu(inputs @ weights), ones], 1)
    goal = inputs @ torch.randn(7, 5, generator=draw, dtype=dtype) + 0.5 * torch.randn(
        ROWS, 5, generator=draw, dtype=dtype
    )
    return inputs, read, goal


def left_with(found: Bottleneck, inputs: Tensor, read: Tensor, goal: Tensor, count: int) -> Tensor:
    """The bottleneck with so many new neurons, computed on the samples."""
    new = neurons(found.second, found.cross, count)
    moved = read @ found.delta + inputs @ new.alpha.T @ new.omega
    return (goal - moved).square().sum(1).mean()


@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_bottleneck_falls_by_the_squares_of_the_singular_values(count: int) -> None:
    inputs, read, goal = samples()
    found = bottleneck(inputs, read, goal)
    gain = neurons(found.second, found.cross, count).s.square().sum()
    assert float(gain) > 0.1 * float(found.psi)
    assert float(found.psi - left_with(found, inputs, read, goal, count)) == pytest.approx(float(gain), rel=1e-5)


def test_all_neurons_together_are_least_squares_on_what_is_left() -> None:
    inputs, read, goal = samples(torch.float64)
    found = bottleneck(inputs, read, goal)
    left = goal - read @ torch.linalg.lstsq(read, goal).solution
    best = left - inputs @ torch.linalg.lstsq(inputs, left).solution
    assert torch.allclose(found.psi, left.square().sum(1).mean())
    assert torch.allclose(left_with(found, inputs, read, goal, 5), best.square().sum(1).mean())


def test_no_other_neuron_lowers_the_bottleneck_more() -> None:
    inputs, read, goal = samples(torch.float64)
    found = bottleneck(inputs, read, goal)
    best = left_with(found, inputs, read, goal, 1)
    draw = torch.Generator().manual_seed(1)
    left = goal - read @ found.delta
    for _ in range(50):  # each with the best weights by which it can be read
        neuron = inputs @ torch.randn(7, 1, generator=draw, dtype=torch.float64)
        other = left - neuron @ torch.linalg.lstsq(neuron, left).solution
        assert float(other.square().sum(1).mean()) >= float(best) - 1e-12


def test_a_goal_that_the_reader_can_follow_has_no_bottleneck() -> None:
    inputs, read, _ = samples(torch.float64)
    found = bottleneck(inputs, read, read @ torch.ones(4, 2, dtype=torch.float64))
    assert float(found.psi) < 1e-18
    assert len(neurons(found.second, found.cross, 5, least=1e-6).s) == 0


def test_dependent_inputs_are_no_obstacle() -> None:
    inputs, read, goal = samples(torch.float64)
    twice, doubled = torch.cat([inputs, inputs[:, :2]], 1), torch.cat([read, read], 1)
    found, plain = bottleneck(twice, doubled, goal), bottleneck(inputs, read, goal)
    assert torch.allclose(found.psi, plain.psi)
    assert torch.allclose(neurons(found.second, found.cross, 3).s, neurons(plain.second, plain.cross, 3).s)
    assert torch.allclose(left_with(found, twice, doubled, goal, 3), left_with(plain, inputs, read, goal, 3))


def test_where_the_reader_has_learnt_all_it_can_a_step_of_the_new_neurons_lowers_the_loss_by_as_much() -> None:
    inputs, read, goal = samples(torch.float64)
    targets, weights = goal.argmax(1), torch.zeros(4, 5, dtype=torch.float64, requires_grad=True)
    learning = torch.optim.LBFGS([weights], max_iter=300, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def loss_of(moved: Tensor | float = 0.0) -> Tensor:
        return nn.functional.cross_entropy(read @ weights + moved, targets)

    def closure() -> Tensor:
        learning.zero_grad()
        loss = loss_of()
        loss.backward()
        return loss

    learning.step(closure)
    made = (read @ weights).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(made, targets), made)
    found = bottleneck(inputs, read, -gradient * ROWS)
    new = neurons(found.second, found.cross, 3)
    step, gain = 1e-4, float(new.s.square().sum())
    assert gain > 0.01
    with torch.no_grad():
        for sign in (1, -1):
            change = loss_of(sign * step * inputs @ new.alpha.T @ new.omega) - loss_of()
            assert float(change) == pytest.approx(-sign * step * gain, rel=1e-2)


def test_gradmax_keeps_the_norm_computes_nothing_and_has_the_largest_gradient() -> None:
    inputs, _, goal = samples(torch.float64)
    cross = inputs.T @ goal / ROWS
    new = gradmax_neurons(cross, 3, norm=0.7)
    assert not new.alpha.any()
    assert torch.allclose(new.omega.norm(dim=1), torch.full((3,), 0.7, dtype=torch.float64))

    def gradient(omega: Tensor) -> float:  # of the first-order loss by alpha, by autograd
        alpha = torch.zeros(len(omega), 7, dtype=torch.float64, requires_grad=True)
        moved = -(goal * (inputs @ alpha.T @ omega)).sum(1).mean()
        return float(torch.autograd.grad(moved, alpha)[0].norm())

    best = gradient(new.omega)
    assert best == pytest.approx(0.7 * float(new.s.norm()))
    for _ in range(20):
        other = torch.linalg.qr(torch.randn(5, 3, dtype=torch.float64)).Q.T * 0.7
        assert gradient(other) <= best + 1e-12


def test_random_neurons_are_those_of_their_draw() -> None:
    first, again, other = (random_neurons(4, 6, 3, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first.alpha, again.alpha)
    assert not torch.equal(first.alpha, other.alpha)
    assert first.alpha.shape == (4, 6)
    assert first.omega.shape == (4, 3)


def test_the_inverse_root_is_one() -> None:
    inputs, _, _ = samples(torch.float64)
    second = inputs.T @ inputs / ROWS
    root = inverse_root(second)
    assert torch.allclose(root @ second @ root, torch.eye(7, dtype=torch.float64))


GROMO = Path(os.environ.get("GROMO", "nowhere")) / "gromo" / "utils" / "tools.py"
"""Of the authors' library, where its folder is given: pip download gromo, unpacked."""


@pytest.mark.skipif(not GROMO.is_file(), reason="GROMO names no folder of the authors' library")
def test_it_is_what_the_authors_library_computes() -> None:
    spec = importlib.util.spec_from_file_location("gromo_tools", GROMO)
    assert spec is not None
    assert spec.loader is not None
    theirs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(theirs)
    inputs, read, goal = samples(torch.float64)
    found = bottleneck(inputs, read, goal)
    delta, _ = theirs.optimal_delta(read.T @ read / ROWS, read.T @ goal / ROWS, dtype=torch.float64)
    assert torch.allclose(best_update(read.T @ read / ROWS, read.T @ goal / ROWS), delta.T)
    assert torch.allclose(found.delta, delta.T)
    alpha, omega, s = theirs.compute_optimal_added_parameters(found.second, found.cross, maximum_added_neurons=3)
    new = neurons(found.second, found.cross, 3)
    assert torch.allclose(new.s, s)
    assert torch.allclose(new.alpha.T @ new.omega, alpha.T @ omega.T)  # the sign of a pair of vectors is free
    _, omega, s = theirs.compute_optimal_added_parameters(
        None, inputs.T @ goal / ROWS, maximum_added_neurons=3, alpha_zero=True, ignore_singular_values=True
    )
    largest = gradmax_neurons(inputs.T @ goal / ROWS, 3, norm=1.0)
    assert torch.allclose(largest.s, s)
    assert torch.allclose(largest.omega.abs(), omega.T.abs())
