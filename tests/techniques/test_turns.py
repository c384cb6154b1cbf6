"""Techniques that make the first weights, together with one that holds weights in another way."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from dnal.techniques.data_diet import DataDiet
from dnal.techniques.nio import NIO
from dnal.techniques.scaling import ArchitectureAwareScaling
from dnal.techniques.weight_compander import WeightCompander
from dnal.train.phase import Context, Phase, run_phase
from dnal.train.technique import Technique


def started(*techniques: Technique) -> dict[str, Tensor]:
    """The weights of a network with which a phase begins, by name: at a learning rate of nearly 0."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3))
    draw = torch.Generator().manual_seed(1)
    x, y = torch.randn(40, 6, generator=draw), torch.randint(3, (40,), generator=draw)
    loader = DataLoader(TensorDataset(x, y), 20)
    phase = Phase(
        "base", 1, 1e-12, optimizer=lambda net, lr: torch.optim.SGD(net.parameters(), lr), techniques=techniques
    )
    run_phase(phase, network, Context(Fabric(accelerator="cpu", devices=1), loader, F.cross_entropy))
    return {name: value.detach().clone() for name, value in network.named_parameters()}


@pytest.mark.parametrize("first", [NIO(iterations=3), ArchitectureAwareScaling(rates=False)])
def test_first_weights_are_the_same_under_a_compander(first: Technique) -> None:
    torch.manual_seed(0)
    alone, plain = started(first), started()
    assert all(not torch.allclose(alone[name], plain[name], rtol=1e-3) for name in alone if "weight" in name)
    for order in itertools.permutations([first, WeightCompander(a=2.0)]):
        together = started(*order)
        assert all(torch.allclose(alone[name], together[name], rtol=1e-4, atol=1e-6) for name in alone)


def test_weights_are_drawn_before_they_are_scaled() -> None:
    one, other = (started(*pair) for pair in itertools.permutations([NIO(iterations=3), ArchitectureAwareScaling()]))
    assert all(torch.equal(one[name], other[name]) for name in one)
    scales = [float((one[n] / w).median()) for n, w in started(ArchitectureAwareScaling()).items() if "weight" in n]
    assert all(not math.isclose(scale, 1, rel_tol=1e-3) for scale in scales)


def test_examples_are_scored_beside_a_compander() -> None:
    started(DataDiet(epochs=1, networks=1), WeightCompander(a=2.0))
