"""Code that runs in training mode only: what it does to channels shrinks with them, or they stay; never does the
compact network fail at its first step."""

import random
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import stochastic_depth

import dnal
from independent import assert_exact, randomise
from networks import Net, conv


def training(noise: Callable[[Tensor], Tensor]) -> Callable[[Net, Tensor], Tensor]:
    """Two convolutions, between which training does something more."""

    def compute(n: Net, x: Tensor) -> Tensor:
        y = n.first(x).relu()
        return n.last(noise(y) if n.training else y).mean((2, 3))

    return compute


def averaged(n: Net, x: Tensor) -> Tensor:
    y = n.first(x).relu()
    if n.training:
        with torch.no_grad():
            n.average.mul_(0.9).add_(0.1 * y.mean((0, 2, 3)))
    return n.last(y).mean((2, 3))


def row(y: Tensor) -> Tensor:
    return y * y.new_empty((y.size(0), 1, 1, 1)).bernoulli_(0.8)


NOISES: dict[str, Callable[[Tensor], Tensor]] = {
    "dropout": F.dropout,
    "dropout of channels": F.dropout2d,
    "alpha dropout of channels": F.feature_alpha_dropout,
    "rows left out": row,
    "stochastic depth": lambda y: stochastic_depth(y, 0.5, "row"),
    "noise": lambda y: y + 0.1 * torch.randn_like(y),
    "Gumbel's noise": lambda y: y + torch.empty_like(y).exponential_(),
}


def trains(network: nn.Module, images: Tensor) -> None:
    network.train()(images).square().sum().backward()
    assert all(p.grad is not None for p in network.parameters())


@pytest.mark.parametrize("name", NOISES)
@pytest.mark.parametrize("unused", [False, True], ids=["traced in eval mode", "traced in training mode too"])
def test_noise_passes_channels_on(name: str, unused: bool) -> None:
    more = {"average": torch.zeros(5)} if unused else {}  # what eval mode leaves unused is looked for in training mode
    network = randomise(Net(training(NOISES[name]), first=conv(3, 8), last=conv(8, 4), **more)).eval()
    images = torch.randn(2, 3, 8, 8)
    space = dnal.Space.of(network, images)
    assert space.num_variables == 8
    trains(assert_exact(network, images, space, dnal.Architecture.random(space, 0.5)), images)


@pytest.mark.parametrize("batch", [1, 2])
def test_a_moving_average_of_each_channel_shrinks_with_them(batch: int) -> None:
    network = randomise(Net(averaged, first=conv(3, 8), last=conv(8, 4), average=torch.zeros(8))).eval()
    images = torch.randn(batch, 3, 8, 8)
    space = dnal.Space.of(network, images)
    assert space.num_variables == 8
    small = assert_exact(network, images, space, dnal.Architecture.random(space, 0.5))
    assert small.average.shape == (4,)
    trains(small, images)


def literal(y: Tensor) -> Tensor:
    return y * (torch.rand(y.size(0), 8, 1, 1) > 0.2)


def test_noise_of_a_literal_width_keeps_its_channels_only() -> None:
    def compute(n: Net, x: Tensor) -> Tensor:
        y = n.first(x).relu()
        return n.last(n.middle(literal(y) if n.training else y).relu()).mean((2, 3))

    network = randomise(Net(compute, first=conv(3, 8), middle=conv(8, 6), last=conv(6, 4))).eval()
    images = torch.randn(2, 3, 8, 8)
    space = dnal.Space.of(network, images)
    assert [group.width for group in space.groups] == [6]
    assert "without it training mode fails" in str(space.fixed)
    trains(dnal.compact(network, dnal.Architecture.random(space, 0.5)), images)


def test_compact_refuses_what_cannot_train() -> None:
    network = randomise(Net(training(literal), first=conv(3, 8), last=conv(8, 4))).eval()
    space = dnal.Space.of(network, torch.randn(2, 3, 8, 8), probe=False)
    with pytest.raises(dnal.UserError, match="not in training mode"):
        dnal.compact(network, dnal.Architecture.random(space, 0.5))


def test_a_network_that_does_not_train_on_its_example_is_not_refused() -> None:
    def compute(n: Net, x: Tensor) -> Tensor:
        if n.training:
            raise ValueError("in training mode targets are needed")
        return n.last(n.first(x))

    network = randomise(Net(compute, first=conv(3, 8), last=conv(8, 4))).eval()
    space = dnal.Space.of(network, torch.randn(2, 3, 8, 8))
    assert space.num_variables == 8
    dnal.compact(network, dnal.Architecture.random(space, 0.5))


def test_neither_statistics_nor_any_random_state_moves() -> None:
    def compute(n: Net, x: Tensor) -> Tensor:
        y = n.norm(n.first(x))
        if n.training:
            y = y * random.random() + torch.rand(1) + float(np.random.rand())
        return n.last(y)

    network = randomise(Net(compute, first=conv(3, 8), norm=nn.BatchNorm2d(8), last=conv(8, 4))).eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    space = dnal.Space.of(network, torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dnal.compact(network, dnal.Architecture.random(space, 0.5))
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1:] == (random.getstate(), np.random.get_state()[1].tolist())
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert not any(module.training for module in network.modules())
