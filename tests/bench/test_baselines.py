"""Baselines from outside: what they leave may not run."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import dnal
from dnal.bench.baselines import _pruner, again, tuned
from dnal.bench.suite import BASELINES, FASTNAS


class Careless:
    """Narrows one layer and forgets its reader."""

    def __init__(self, network: nn.Module, ratios: list[float]) -> None:
        self.network: Any = network
        self.width = max(1, round((1 - ratios[0]) * network[0].out_channels))  # type: ignore[index, operator]

    def step(self) -> None:
        self.network[0] = nn.Conv2d(3, self.width, 3)


class Broken(Careless):
    def step(self) -> None:
        raise IndexError("list index out of range")


@pytest.mark.parametrize(
    ("baseline", "sentence"),
    [
        (Careless, r"leaves at a ratio of 0\.5 fails on this network: RuntimeError: .*channels"),
        (Broken, r"Torch-Pruning fails on this network: IndexError: list index out of range\."),
    ],
)
def test_a_baseline_that_fails_is_a_sentence(baseline: type[Careless], sentence: str) -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3)).eval()
    with pytest.raises(dnal.UserError, match=sentence):
        tuned(baseline, network, torch.zeros(2, 3, 8, 8), 1000.0)


def test_torch_pruning_breaks_the_padded_shortcut_of_the_cifar_resnets() -> None:
    pytest.importorskip("torch_pruning")
    network, example = dnal.models.create("cifar/resnet20", classes=10).eval(), torch.zeros(2, 3, 32, 32)
    with pytest.raises(dnal.UserError, match="fails on this network"):
        tuned(
            lambda own, ratios: _pruner("tp-magnitude", own, example, 10, ratios), network, example,
            0.25 * dnal.macs(network, example),
        )  # fmt: skip


@pytest.mark.parametrize("share", [0.25, 0.1])
@pytest.mark.parametrize("name", [name for name in BASELINES if name != FASTNAS])
def test_torch_pruning_uses_its_budget(name: str, share: float) -> None:
    """Widths of 16 to 128 lose their last channels at the same ratio, which alone leaves 88 to 93 % of the budget."""
    pytest.importorskip("torch_pruning")
    torch.manual_seed(0)
    network = dnal.models.create("cifar/vgg16_bn_quarter", classes=10, input_shape=(3, 16, 16)).eval()
    for norm in (module for module in network.modules() if isinstance(module, nn.BatchNorm2d)):
        nn.init.uniform_(norm.weight)  # all alike, they have no order
    example = torch.zeros(2, 3, 16, 16)
    before = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    limit = share * dnal.macs(network, example)
    small, history = tuned(
        lambda own, ratios: _pruner(name, own, example, 10, ratios), network, example, limit
    )  # fmt: skip
    assert 0.97 * limit <= dnal.macs(small, example) <= limit
    assert {name: tuple(value.shape) for name, value in network.state_dict().items()} == before
    shapes = {name: tuple(value.shape) for name, value in small.state_dict().items()}
    assert {name: tuple(value.shape) for name, value in again(network, history, example).state_dict().items()} == shapes
