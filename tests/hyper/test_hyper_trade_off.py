"""A trade-off of one hypernetwork: what it computes at a share, what it exports, and that it learns."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from timm.layers import StdConv2dSame
from torch import Tensor, nn

import dnal
from dnal.base.errors import UserError
from dnal.hyper import TradeOff, trade_off, with_weights

SHARES = (0.2, 0.5, 1.0)
BATCHES = list(dnal.data.loaders(dnal.data.load("digits", limit_train=256), 64, seed=0).train)
IMAGES, LABELS = BATCHES[0]


class Residual(nn.Module):
    """A block around which there is a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.second = nn.Conv2d(8, 8, 3, 1, 1), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.second(F.relu(self.norm(self.first(x))))
        return out


def convolutions(*, residual: bool = False) -> nn.Sequential:
    torch.manual_seed(0)
    middle = [Residual()] if residual else []
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), *middle, nn.Conv2d(8, 12, 3, 1, 1), nn.BatchNorm2d(12),
        nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 10),
    )  # fmt: skip


def made(*, residual: bool = False, **options: Any) -> tuple[nn.Sequential, TradeOff]:
    """A network, and its trade-off with a hypernetwork that says something else at every share."""
    network = convolutions(residual=residual)
    trade = TradeOff(network, dnal.Space.of(network, IMAGES[:2], depth=residual), least=0.15, **options)
    if trade.hyper is not None:
        with torch.no_grad():
            trade.hyper.output.weight.normal_(0, 0.1)
    return network, trade


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("share", SHARES)
def test_it_computes_what_the_network_does_with_those_weights_and_closed_channels(share: float, residual: bool) -> None:
    network, trade = made(residual=residual)
    whole = with_weights(network, trade.weights(share))
    expected = dnal.gated(whole, trade.architecture(share)).train()(IMAGES)
    assert torch.allclose(trade.train()(share, IMAGES), expected, atol=1e-5)
    assert not torch.allclose(expected, network(IMAGES), atol=1e-2)


@pytest.mark.parametrize("share", SHARES)
def test_what_it_exports_is_ordinary_keeps_its_share_and_computes_the_same(share: float) -> None:
    network, trade = made()
    small = trade.compact(share, BATCHES)
    assert [type(module) for module in small] == [type(module) for module in network]
    assert dnal.macs(small, IMAGES[:1]) <= share * dnal.macs(network, IMAGES[:1])
    assert dnal.macs(small, IMAGES[:1]) >= 0.7 * share * dnal.macs(network, IMAGES[:1])
    assert all(parameter.requires_grad for parameter in small.parameters())
    assert torch.allclose(small.train()(IMAGES), trade.train()(share, IMAGES), atol=1e-5)


def test_its_batch_norms_have_the_mean_statistics_of_the_batches() -> None:
    _, trade = made()
    small = trade.compact(0.5, BATCHES)
    read = torch.stack([small[0](inputs).mean((0, 2, 3)) for inputs, _ in BATCHES]).mean(0)
    assert torch.allclose(small[1].running_mean, read, atol=1e-5)


def test_it_begins_at_the_network_itself() -> None:
    network = convolutions()
    trade = TradeOff(network, dnal.Space.of(network, IMAGES[:2]), least=0.15)
    small = trade.compact(0.4, BATCHES)
    expected = dnal.compact(network, trade.architecture(0.4))
    for name, own in expected.named_parameters():
        assert torch.equal(own, small.get_parameter(name))


def test_only_channels_that_are_there_and_their_weights_learn_in_a_step() -> None:
    _, trade = made()
    kept = trade.architecture(0.2).kept
    F.cross_entropy(trade.train()(0.2, IMAGES), LABELS).backward()
    assert trade.hyper is not None
    assert trade.hyper.output.bias.grad is not None
    sizes = [trade.network.get_parameter(name).numel() for name in trade.hyper.names]
    closed = 0
    for name, gradient in zip(trade.hyper.names, trade.hyper.output.bias.grad.split(sizes), strict=True):
        shape = trade.network.get_parameter(name).shape
        here = torch.ones(shape, dtype=torch.bool)
        for dim, indices in enumerate(kept[name]):
            if indices is not None:
                along = torch.zeros(shape[dim], dtype=torch.bool)
                along[indices] = True
                here &= along.view([-1 if d == dim else 1 for d in range(len(shape))])
        assert not bool(gradient.view(shape)[~here].any())
        closed += int((~here).sum())
        if name.endswith("weight"):
            assert bool(gradient.view(shape)[here].any())
    assert closed > 0
    for parameter in trade.hyper.hidden.parameters():
        assert parameter.grad is not None
        assert bool(parameter.grad.any())


def test_a_part_is_predicted_and_the_rest_is_one_set_for_every_share() -> None:
    network, trade = made(predicted=["1", "4"])
    assert trade.hyper is not None
    assert trade.hyper.names == ["1.weight", "1.bias", "4.weight", "4.bias"]
    F.cross_entropy(trade.train()(0.5, IMAGES), LABELS).backward()
    grads = {name: parameter.grad is not None for name, parameter in trade.network.named_parameters()}
    assert grads == {name: name not in trade.hyper.names for name, _ in network.named_parameters()}
    large, small = (trade.weights(share) for share in (1.0, 0.5))
    differ = [name for name in large if not torch.equal(large[name], small[name])]
    assert differ == trade.hyper.names


def test_with_nothing_predicted_all_shares_have_the_same_weights() -> None:
    network, trade = made(predicted=())
    assert trade.hyper is None
    assert {name for name, _ in trade.named_parameters()} == {
        f"network.{name}" for name, _ in network.named_parameters()
    }
    F.cross_entropy(trade.train()(0.2, IMAGES), LABELS).backward()
    assert all(parameter.grad is not None for parameter in trade.parameters())


def test_given_scores_decide_which_channels_stay_and_branches_always_do() -> None:
    network = convolutions(residual=True)
    space = dnal.Space.of(network, IMAGES[:2], depth=True)
    assert space.num_branches
    scores = torch.arange(space.num_gates, dtype=torch.float64)
    scores[space.num_variables :] = -1
    for sign in (1, -1):
        trade = TradeOff(network, space, scores=sign * scores, least=0.3)
        architecture = trade.architecture(0.3)
        assert bool(architecture.open[space.num_variables :].all())
        for group in space.groups:
            stays = architecture.open[group.variables]
            count = int(stays.sum())
            best = (sign * scores[group.variables]).argsort(descending=True)[:count]
            assert bool(stays[best].all())


def loss_of(network: nn.Module) -> float:
    network.eval()
    with torch.no_grad():
        return sum(float(F.cross_entropy(network(inputs), targets)) for inputs, targets in BATCHES)


def test_training_lowers_the_loss_at_every_share_and_is_repeated_by_its_seed() -> None:
    network = convolutions()
    before = copy.deepcopy(network.state_dict())
    space = dnal.Space.of(network, IMAGES[:2])
    start = TradeOff(network, space, least=0.2)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first, again = (trade_off(network, space, BATCHES, epochs=25, least=0.2, levels=4, lr=0.1) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    for share in (0.25, 0.6, 1.0):  # the first two lie between those that were trained
        assert loss_of(first.compact(share, BATCHES)) < 0.8 * loss_of(start.compact(share, BATCHES))
    large, small = (first.weights(share)["8.weight"] for share in (1.0, 0.2))
    assert not torch.allclose(large, small, atol=1e-3)


@pytest.mark.parametrize("share", [0.0, -1.0, 1.5, float("nan")])
def test_what_is_no_share_is_refused(share: float) -> None:
    _, trade = made()
    for use in (trade.architecture, lambda value: trade(value, IMAGES), lambda value: trade.compact(value, BATCHES)):
        with pytest.raises(UserError, match="a share of the MACs is"):
            use(share)


def test_what_cannot_be_is_refused() -> None:
    network, trade = made()
    with pytest.raises(UserError, match=r"begins at 0.15"):
        trade.architecture(0.1)
    with pytest.raises(UserError, match="cannot be kept"):
        TradeOff(network, trade.space, least=1e-4)
    with pytest.raises(UserError, match="belongs to another network"):
        TradeOff(nn.Linear(2, 2), trade.space)
    with pytest.raises(UserError, match="scores are a tensor of shape"):
        TradeOff(network, trade.space, scores=torch.zeros(3))
    with pytest.raises(UserError, match="epochs and levels"):
        trade_off(network, trade.space, BATCHES, epochs=0)
    with pytest.raises(UserError, match="take a smaller lr"):
        trade_off(network, trade.space, BATCHES, epochs=3, lr=1e20)


def test_layers_that_compute_their_weight_are_refused() -> None:
    network = nn.Sequential(StdConv2dSame(1, 8, 3), nn.ReLU(), StdConv2dSame(8, 4, 3))
    space = dnal.Space.of(network, IMAGES[:2])
    with pytest.raises(UserError, match="'0' computes its weight"):
        TradeOff(network, space)


def test_a_weight_that_torch_parametrizes_is_one_of_the_predicted() -> None:
    network = convolutions()
    nn.utils.parametrizations.weight_norm(network[3])
    trade = TradeOff(network, dnal.Space.of(network, IMAGES[:2]), least=0.3)
    assert trade.hyper is not None
    assert "3.parametrizations.weight.original1" in trade.hyper.names
    assert torch.allclose(trade.train()(1.0, IMAGES), network.train()(IMAGES), atol=1e-5)
    trade(0.4, IMAGES).sum().backward()
