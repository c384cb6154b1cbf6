"""Hypernetworks: proportional to the input or not, the scale of first predictions, subsets, shapes, gradients."""

from __future__ import annotations

import math
import warnings
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, vmap

import dnal
from dnal.base.errors import UserError
from dnal.hyper import Hypernetwork, constant_norm, constant_sum, hypernetwork, with_weights

GAIN = math.sqrt(2 / (1 + 0.01**2))
"""Of a leaky ReLU with a slope of .01."""


def mlp(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)).double()


def kaiming() -> nn.Sequential:
    """As networks with ReLU begin: the gain of ReLU, biases of 0."""
    network = mlp()
    for layer in (network[0], network[2]):
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.zeros_(layer.bias)
    return network


def flat(predicted: dict[str, Tensor]) -> Tensor:
    return torch.cat([each.flatten() for each in predicted.values()])


@pytest.mark.parametrize("factor", [2.0, 0.5, 7.0])
def test_a_plain_hypernetwork_passes_the_size_of_its_input_on(factor: float) -> None:
    hyper = hypernetwork(mlp(), {"gamma": ()}, encoding="none", residual=False)
    once, more = flat(hyper(gamma=0.3)).detach(), flat(hyper(gamma=0.3 * factor)).detach()
    assert float(once.abs().max()) > 0
    assert torch.allclose(more, factor * once, rtol=1e-9, atol=0)


@pytest.mark.parametrize(("encoding", "residual"), [("norm", True), ("norm", False), ("none", True), ("sum", False)])
def test_the_others_do_not(encoding: Any, residual: bool) -> None:
    hyper = hypernetwork(mlp(), {"gamma": ()}, encoding=encoding, residual=residual)
    once, twice = flat(hyper(gamma=0.3)).detach(), flat(hyper(gamma=0.6)).detach()
    assert float((twice - 2 * once).norm() / once.norm()) > 0.1


def test_the_encoding_has_one_norm_for_all_inputs_and_other_values_for_each() -> None:
    gamma = torch.rand(100, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(constant_norm(gamma).norm(dim=1), torch.full((100,), math.sqrt(3), dtype=torch.float64))
    assert torch.allclose(constant_sum(gamma).sum(1), torch.full((100,), 3.0, dtype=torch.float64))
    ends = constant_norm(torch.tensor([[0.0], [1.0]], dtype=torch.float64))
    assert torch.allclose(ends, torch.eye(2, dtype=torch.float64), atol=1e-12), "0 and 1 are at right angles"
    assert torch.allclose(
        constant_norm(torch.tensor([1 / 3], dtype=torch.float64))[0], torch.tensor(3**0.5 / 2).double()
    )


def test_the_size_of_predictions_is_flat_with_the_parametrization_and_proportional_without() -> None:
    places = torch.tensor([0.05, 0.5, 1.0], dtype=torch.float64)
    torch.manual_seed(3)
    plain = hypernetwork(kaiming(), {"gamma": ()}, encoding="none", residual=False)
    ours = hypernetwork(kaiming(), {"gamma": ()})
    sizes = [[float(flat(hyper(gamma=gamma)).detach().std()) for gamma in places] for hyper in (plain, ours)]
    assert sizes[0] == pytest.approx([2 * sizes[0][1] * float(gamma) for gamma in places], rel=1e-9)
    assert max(sizes[1]) < 1.1 * min(sizes[1])


@pytest.mark.parametrize("hidden", [(16, 64, 128), (16,), ()])
@pytest.mark.parametrize("encoding", ["norm", "none", "sum"])
def test_without_the_residual_each_tensor_begins_as_large_as_the_networks_own(encoding: Any, hidden: Any) -> None:
    network = mlp()
    drawn = []
    for seed in range(20):
        torch.manual_seed(seed)
        drawn.append(hypernetwork(network, {"gamma": ()}, encoding=encoding, residual=False, hidden=hidden)(gamma=0.5))
    for name, own in network.named_parameters():
        predicted = torch.stack([each[name] for each in drawn]).detach()
        assert float(predicted.square().mean().sqrt() / own.square().mean().sqrt()) == pytest.approx(1, abs=0.2)


def test_with_the_residual_predictions_begin_at_the_networks_own_weights() -> None:
    network = kaiming()
    for seed in range(3):
        torch.manual_seed(seed)
        predicted = hypernetwork(network, {"gamma": ()})(gamma=0.4)
        for name, own in network.named_parameters():
            if own.dim() > 1:
                scale = predicted[name].square().mean().sqrt() / own.square().mean().sqrt()
                assert float(scale.detach()) == pytest.approx(1, abs=0.2)
                assert float(F.cosine_similarity(predicted[name].flatten(), own.flatten(), 0).detach()) > 0.85
    exact = hypernetwork(network, {"gamma": ()}, spread=0)
    for gamma in (0.0, 0.7):
        for name, value in exact(gamma=gamma).items():
            assert torch.equal(value, network.get_parameter(name))


def test_rows_of_each_tensor_are_drawn_by_its_own_size() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(100, 100), nn.Linear(100, 4))
    output = hypernetwork(network, {"gamma": ()}).output
    sizes = [10_000, 100, 400, 4]
    for rows, size in zip(output.weight.split(sizes), sizes, strict=True):
        assert float(rows.detach().std()) == pytest.approx(GAIN / math.sqrt(size), rel=0.15)


def test_it_is_the_formula_by_hand_with_inputs_in_the_order_of_their_names() -> None:
    network = mlp()
    hyper = hypernetwork(network, {"b": (2, 2), "a": ()}, hidden=(5, 7))
    a, b = torch.tensor(0.2, dtype=torch.float64), torch.rand(2, 2, dtype=torch.float64)
    x = torch.cat([a.view(1), b.flatten()])
    x = torch.cat([torch.cos(math.pi / 2 * x), torch.sin(math.pi / 2 * x)])
    state = hyper.state_dict()
    for layer in (0, 2):
        x = state[f"hidden.{layer}.weight"] @ x + state[f"hidden.{layer}.bias"]
        x = torch.where(x > 0, x, 0.01 * x)
    expected = state["output.weight"] @ x + state["output.bias"]
    assert torch.allclose(flat(hyper(a=a, b=b)), expected, atol=1e-12)
    assert torch.equal(state["output.bias"], torch.cat([p.detach().flatten() for p in network.parameters()]))


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        ("*", ["0.weight", "0.bias", "2.weight", "2.bias"]),
        ("2", ["2.weight", "2.bias"]),
        ("*.bias", ["0.bias", "2.bias"]),
        (["0.weight", "2.bias"], ["0.weight", "2.bias"]),
    ],
)
def test_any_part_of_a_network_is_predicted_by_its_names(wanted: Any, names: list[str]) -> None:
    network, x = mlp(), torch.rand(5, 64, dtype=torch.float64)
    hyper = hypernetwork(network, {"gamma": ()}, predicted=wanted)
    predicted = hyper(gamma=0.9)
    assert hyper.names == list(predicted) == names
    assert {name: value.shape for name, value in predicted.items()} == {
        name: network.get_parameter(name).shape for name in names
    }
    F.cross_entropy(functional_call(network, predicted, (x,)), torch.arange(5)).backward()
    for name, parameter in network.named_parameters():
        assert (parameter.grad is None) == (name in names)
    folded = with_weights(network, predicted)
    assert type(folded) is nn.Sequential
    assert torch.allclose(folded(x), functional_call(network, predicted, (x,)))
    assert not torch.equal(folded(x), network(x)), "the network stays as it is"


def test_gradients_reach_every_weight_and_the_input() -> None:
    network = mlp()
    hyper, gamma = hypernetwork(network, {"gamma": ()}), torch.tensor(0.4, requires_grad=True)
    x = torch.rand(16, 64, dtype=torch.float64)
    F.cross_entropy(functional_call(network, hyper(gamma=gamma), (x,)), torch.arange(16) % 10).backward()
    for parameter in (*hyper.parameters(), gamma):
        assert parameter.grad is not None
        assert bool(parameter.grad.isfinite().all())
        assert bool(parameter.grad.any())


def test_many_inputs_at_once_are_as_many_sets_of_weights() -> None:
    network = mlp()
    hyper = hypernetwork(network, {"gamma": (), "delta": (2,)})
    gamma, delta = torch.rand(3), torch.rand(3, 2)
    whole = hyper(gamma=gamma, delta=delta)
    x = torch.rand(4, 64, dtype=torch.float64)
    together = vmap(lambda weights: functional_call(network, weights, (x,)))(whole)
    for one in range(3):
        single = hyper(gamma=gamma[one], delta=delta[one])
        assert all(torch.allclose(whole[name][one], single[name]) for name in single)
        assert torch.allclose(together[one], functional_call(network, single, (x,)))


def test_it_learns_weights_that_depend_on_the_input() -> None:
    """A linear map is to have the weights (gamma, 1 - gamma); one set of weights for all leaves a loss of 1/6."""
    torch.manual_seed(0)
    network = nn.Linear(2, 1, bias=False)
    hyper = hypernetwork(network, {"gamma": ()}, hidden=(16, 16))
    optimizer, losses = torch.optim.Adam(hyper.parameters(), 1e-2), []
    for _ in range(300):
        gamma, x = torch.rand(()), torch.randn(64, 2)
        loss = F.mse_loss(functional_call(network, hyper(gamma=gamma), (x,))[:, 0], x @ torch.stack([gamma, 1 - gamma]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-50:]) / 50 < 0.02 < 2 / 12


def test_tied_parameters_are_predicted_once_and_stay_tied() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Embedding(7, 5), nn.Linear(5, 7, bias=False))
    network[1].weight = network[0].weight
    hyper = hypernetwork(network, {"gamma": ()})
    assert hyper.names == ["0.weight"]
    predicted = hyper(gamma=0.1)
    folded, tokens = with_weights(network, predicted), torch.arange(7)
    assert folded[0].weight is folded[1].weight
    assert torch.allclose(folded(tokens), functional_call(network, predicted, (tokens,)))


def test_other_types_are_kept() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2).bfloat16())
    predicted = hypernetwork(network, {"gamma": ()})(gamma=0.5)
    assert predicted["0.weight"].dtype == torch.float32
    assert predicted["1.weight"].dtype == torch.bfloat16


def test_inputs_outside_their_range_warn() -> None:
    hyper = hypernetwork(nn.Linear(2, 2), {"gamma": ()})
    for outside in (1.5, -0.1, math.nan):
        with pytest.warns(UserWarning, match="below 0 or above 1"):
            hyper(gamma=outside)
    plain = hypernetwork(nn.Linear(2, 2), {"gamma": ()}, encoding="none")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plain(gamma=1.5)  # without an encoding any number is one
        hyper(gamma=1.0)


def test_its_state_goes_on_elsewhere() -> None:
    hyper, other = (hypernetwork(mlp(seed), {"gamma": ()}) for seed in (0, 1))
    assert not torch.equal(flat(hyper(gamma=0.3)), flat(other(gamma=0.3)))
    other.load_state_dict(hyper.state_dict())
    assert torch.equal(flat(hyper(gamma=0.3)), flat(other(gamma=0.3)))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"predicted": "3"}, "names no layer or parameter"),
        ({"predicted": ()}, "no parameter to predict"),
        ({"inputs": {}}, "has inputs"),
        ({"inputs": {"gamma": 3}}, "tuple of sizes"),
        ({"inputs": {"self": ()}}, "any name but 'self'"),
        ({"inputs": {3: (), "gamma": ()}}, "as text, not 3"),
        ({"inputs": {"gamma": (0,)}}, "tuple of sizes"),
        ({"hidden": (16, 0)}, "numbers of units"),
        ({"encoding": "l2"}, "unknown encoding 'l2'"),
        ({"spread": -1.0}, "spread is a number"),
    ],
)
def test_what_makes_no_hypernetwork_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        dnal.hyper.hypernetwork(mlp(), **{"inputs": {"gamma": ()}, **given})


def test_what_holds_no_numbers_to_predict_is_refused() -> None:
    with pytest.raises(UserError, match="no parameter to predict"):
        hypernetwork(nn.ReLU(), {"gamma": ()})
    with pytest.raises(UserError, match="of a network, not of a dict"):
        hypernetwork({"weight": torch.zeros(2)}, {"gamma": ()})  # type: ignore[arg-type]
    with pytest.raises(UserError, match="cannot be predicted"):
        Hypernetwork({"counts": torch.zeros(2, dtype=torch.long)}, {"gamma": ()})


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({}, "conditioned on delta, gamma, by name, not on nothing"),
        ({"gamma": 0.5}, "not on gamma"),
        ({"gamma": 0.5, "delta": torch.zeros(3)}, r"not delta \(3,\)"),
        ({"gamma": torch.zeros(4), "delta": torch.zeros(2)}, "the same dimension in front"),
        ({"gamma": torch.zeros(4), "delta": torch.zeros(3, 2)}, "the same dimension in front"),
        ({"gamma": torch.zeros(1, 4), "delta": torch.zeros(1, 4, 2)}, "the same dimension in front"),
    ],
)
def test_inputs_of_other_names_and_shapes_are_refused(inputs: dict[str, Any], words: str) -> None:
    hyper = hypernetwork(mlp(), {"gamma": (), "delta": (2,)})
    with pytest.raises(UserError, match=words):
        hyper(**inputs)


def test_weights_of_another_network_are_refused() -> None:
    predicted = hypernetwork(mlp(), {"gamma": ()})(gamma=0.5)
    with pytest.raises(UserError, match="is none of this network"):
        with_weights(nn.Linear(2, 2), predicted)
    with pytest.raises(UserError, match="has the shape"):
        with_weights(mlp(), {"2.bias": torch.zeros(3, 10)})
