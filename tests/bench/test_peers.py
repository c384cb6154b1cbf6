"""Rivals from outside: what they leave may not run."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import dnal
from dnal.bench.peers import tuned


class Careless:
    """Narrows one layer and forgets its reader."""

    def __init__(self, network: nn.Module, ratio: float) -> None:
        self.network: Any = network
        self.width = max(1, round((1 - ratio) * network[0].out_channels))  # type: ignore[index, operator]

    def step(self) -> None:
        self.network[0] = nn.Conv2d(3, self.width, 3)


def test_a_network_that_a_rival_broke_is_a_sentence() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3)).eval()
    with pytest.raises(dnal.UserError, match=r"leaves at a ratio of 0\.5 does not run: .*channels"):
        tuned(Careless, network, torch.zeros(2, 3, 8, 8), 1000.0)


def test_torch_pruning_breaks_the_padded_shortcut_of_the_cifar_resnets() -> None:
    peers = pytest.importorskip("torch_pruning")
    network, example = dnal.models.create("cifar/resnet20", classes=10).eval(), torch.zeros(2, 3, 32, 32)
    importance = peers.importance.GroupMagnitudeImportance(p=2)
    with pytest.raises(dnal.UserError, match="does not run"):
        tuned(
            lambda own, ratio: peers.pruner.BasePruner(
                own, example, importance=importance, pruning_ratio=ratio, ignored_layers=[own.fc]
            ),
            network, example, 0.25 * dnal.macs(network, example),
        )  # fmt: skip
