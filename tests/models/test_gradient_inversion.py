"""Training together, and attacks on what clients share."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.signal import argrelmin
from torch import Tensor

from dnal.base.errors import UserError
from dnal.models.quantum.circuit import Circuit
from dnal.models.quantum.federated import Client, example_gradients, federated, first_squared
from dnal.models.quantum.inversion import (
    Gradients,
    by_descent,
    grid_starts,
    mismatch,
    of_linear_layer,
    random_starts,
    share_found,
)
from dnal.models.quantum.landscape import landscape, random_components, random_unitaries
from dnal.models.quantum.parameter_shift import parameter_shift
from dnal.models.quantum.perceptron import Perceptron


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def sides(count: int) -> Tensor:
    return torch.where(torch.arange(count) % 2 == 0, 1.0, -1.0).double()


@pytest.mark.parametrize("model", [Circuit(2, 1, layers=2), Perceptron(2, 5)])
def test_example_gradients_are_those_of_one_example_at_a_time(model: Circuit | Perceptron) -> None:
    parameters, x, y = model.initial(0), 3 * drawn(4, 2), sides(4)
    found = example_gradients(model, first_squared, parameters, x, y)
    for one in range(4):
        own = parameters.clone().requires_grad_()
        (expected,) = torch.autograd.grad((model(own, x[one])[0] - y[one]) ** 2, own)
        assert torch.allclose(found[one], expected, atol=1e-12)
    assert torch.autograd.gradcheck(
        lambda at: example_gradients(model, first_squared, parameters, at, y), x.requires_grad_()
    )


def test_the_perceptron_is_that_of_torch() -> None:
    model = Perceptron(3, 4, 2)
    network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2)).double()
    flat = torch.nn.utils.parameters_to_vector(network.parameters())
    x = drawn(5, 3)
    assert flat.numel() == model.parameters
    assert torch.allclose(model(flat, x), network(x))
    assert torch.allclose(model(flat.expand(5, -1), x), network(x))


def test_one_round_with_all_examples_is_a_step_of_descent_on_the_mean_of_the_clients() -> None:
    circuit = Circuit(1, 2, layers=2)
    start, x, y = circuit.initial(0), 3 * drawn(6, 1), sides(6)
    clients = [Client(x[:2], y[:2]), Client(x[2:], y[2:])]
    found = federated(circuit, first_squared, start, clients, rounds=1, rate=0.3)
    for place, client in enumerate(clients):
        values = circuit(start, client.x)[:, 0]
        slopes = parameter_shift(lambda many, at=client.x: circuit(many[:, None], at)[..., 0], start)
        expected = (2 * (values - client.y)[:, None] * slopes).mean(0)
        assert torch.allclose(found.shared[0, place], expected, atol=1e-10)
    assert torch.allclose(found.parameters, start - 0.3 * found.shared[0].mean(0))
    again = federated(circuit, first_squared, start, clients, rounds=3, rate=0.3, batch=2, seed=7)
    same = federated(circuit, first_squared, start, clients, rounds=3, rate=0.3, batch=2, seed=7)
    assert torch.equal(again.parameters, same.parameters)
    none = federated(circuit, first_squared, start, clients, rounds=0, rate=0.3)
    assert torch.equal(none.parameters, start)
    assert none.shared.shape == (0, 2, 12)


def attacked(model: Circuit | Perceptron, inputs: int, victims: int = 4) -> tuple[Tensor, Tensor, Gradients]:
    parameters, secret, y = model.initial(1), math.pi * drawn(victims, inputs, seed=2), sides(victims)

    def gradients(x: Tensor) -> Tensor:
        return example_gradients(model, first_squared, parameters, x, y[:, None])

    return secret, gradients(secret[:, None])[:, 0].detach(), gradients


def test_descent_finds_what_a_perceptron_and_a_plain_encoding_share() -> None:
    models: list[tuple[Circuit | Perceptron, int]] = [(Perceptron(2, 8), 2), (Circuit(1, 2, base=1), 1)]
    for model, inputs in models:
        secret, seen, gradients = attacked(model, inputs)
        starts = random_starts(4, 8, inputs)
        found = by_descent(gradients, seen, starts, steps=150, rate=0.1)
        assert share_found(found.x, secret) == 1
        assert torch.allclose(found.mismatch, mismatch(gradients, seen, found.x[:, None])[:, 0])
        assert float(found.mismatch.max()) < 1e-4


def test_the_first_layer_of_a_perceptron_gives_its_inputs_away_exactly() -> None:
    model = Perceptron(5, 7)
    secret, seen, _ = attacked(model, 5)
    assert torch.allclose(of_linear_layer(*model.first_layer(seen)), secret, atol=1e-8)


def test_a_grid_finds_in_a_tower_what_few_descents_do_not() -> None:
    """One number in four qubits: 160 guesses and a little descent, against descent from a single start."""
    secret, seen, gradients = attacked(Circuit(1, 4, layers=3), 1, victims=6)
    starts = grid_starts(gradients, seen, 1, points=640, keep=2, chunk=500)
    whole = grid_starts(gradients, seen, 1, points=640, keep=2)
    assert torch.equal(starts, whole), "chunks change nothing"
    values = mismatch(gradients, seen, (math.pi * (torch.arange(640.0).double() + 0.5) / 640).expand(6, -1)[..., None])
    assert torch.allclose(mismatch(gradients, seen, starts), values.sort(1).values[:, :2])
    found = by_descent(gradients, seen, starts, steps=60, rate=0.003)
    single = by_descent(gradients, seen, random_starts(6, 1, 1), steps=60, rate=0.003)
    assert share_found(found.x, secret) == 1
    assert share_found(single.x, secret) < 0.5


def test_a_landscape_is_counted_as_scipy_does_and_refuses_coarse_grids() -> None:
    components = random_components(3, 3, 4, seed=0)
    found = landscape(components, 1.1, highest=13, points=2001)
    grid = torch.linspace(0, math.pi, 20001, dtype=torch.float64)[:, None]
    values = (components(grid) - components(torch.tensor([[1.1]], dtype=torch.float64))).square().sum(1).numpy()
    assert found.minima == len(argrelmin(values)[0])
    place = int(np.argmin(np.abs(grid[:, 0].numpy() - 1.1)))
    left = right = place
    while left and values[left - 1] > values[left]:
        left -= 1
    while right < 20000 and values[right + 1] > values[right]:
        right += 1
    assert found.basin == pytest.approx((right - left) / 20000, abs=2e-3)
    with pytest.raises(UserError, match="260 points"):
        landscape(components, 1.1, highest=13, points=200)


def test_random_components_are_expectations_without_other_frequencies() -> None:
    unitaries = random_unitaries(3, 8, torch.Generator().manual_seed(0))
    assert torch.allclose(unitaries @ unitaries.mH, torch.eye(8, dtype=torch.complex128).expand(3, -1, -1), atol=1e-10)
    values = random_components(2, 3, 5, seed=1)(2 * math.pi * torch.arange(32.0, dtype=torch.float64)[:, None] / 32)
    assert values.shape == (32, 5)
    assert float(values.abs().max()) <= 1
    there = torch.fft.rfft(values, dim=0).abs().amax(1) > 1e-9
    assert there.nonzero()[:, 0].tolist() == [1, 2, 3, 4], "and no constant: Z has no trace"


def test_minima_multiply_with_qubits_in_a_tower_and_hardly_in_a_plain_encoding() -> None:
    def mean(per_input: int, base: int) -> float:
        highest = Circuit(1, per_input, base=base).highest
        kinds = [random_components(per_input, base, 4, seed) for seed in range(6)]
        return float(np.mean([landscape(one, 0.4 + 0.4 * place, highest).minima for place, one in enumerate(kinds)]))

    assert mean(5, 3) > 2 * mean(4, 3) > 4 * mean(3, 3)
    assert mean(5, 1) < 4


def test_what_cannot_be_trained_or_attacked_is_a_sentence() -> None:
    circuit = Circuit(1, 1, layers=1)
    start, client = circuit.initial(0), Client(drawn(3, 1), sides(3))
    secret, seen, gradients = attacked(circuit, 1)
    for wrong in (
        lambda: federated(circuit, first_squared, start, [], rounds=1, rate=0.1),
        lambda: federated(circuit, first_squared, start, [client], rounds=1, rate=0.1, batch=4),
        lambda: federated(circuit, first_squared, start, [Client(client.x[:0], client.y[:0])], rounds=1, rate=0.1),
        lambda: grid_starts(gradients, seen, 1, points=3, keep=4),
        lambda: Perceptron(hidden=0), lambda: Perceptron()(drawn(3), drawn(2)),
        lambda: landscape(torch.cos, 4.0, highest=1), lambda: random_components(11, 3, 1, seed=0),
    ):  # fmt: skip
        with pytest.raises(UserError, match=r"^[a-z].*\.$"):
            wrong()
    assert secret.shape == (4, 1)
