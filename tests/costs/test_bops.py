"""BOPs: binary MACs / 64 + real MACs, written out by hand; and the same as a function of gates."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import dnal
from dnal import models
from dnal.base.errors import UserError
from dnal.costs.bops import bops, bops_cost
from dnal.costs.budget import Budget
from dnal.costs.cost import COSTS
from dnal.models.binary.convolution import BinaryConv2d


class Mixed(nn.Module):
    """Real channels that may leave, and a layer of bits between them."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 4, 1)
        self.bits = BinaryConv2d(4, 6, 3, groups=2)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.bits(self.second(self.first(x).relu())).mean((2, 3)))
        return y


def test_a_binary_mobilenet_by_hand() -> None:
    network = models.create("binary-mobilenet/stem_8-down_4-block_16", classes=5, input_shape=(3, 10, 6))
    real = 9 * 3 * 8 * 60 + 16 * 5  # the stem at 10 x 6, and the head
    bits = 9 * (8 // 4) * 8 * 15 + 8 * 16 * 15  # groups of two channels, at 5 x 3, and the layer of 1 x 1
    bits += 9 * 1 * 16 * 15 + 16 * 16 * 15  # a depthwise one, and that of 1 x 1
    x = torch.randn(4, 3, 10, 6)
    assert bops(network, x) == real + bits / 64
    assert dnal.macs(network, x) == real + bits
    assert COSTS["bops"].on(network, x) == real + bits / 64


def test_a_network_without_bits_has_as_many_as_macs() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
    assert bops(network, torch.randn(2, 3, 8, 8)) == dnal.macs(network, torch.randn(2, 3, 8, 8))


def test_bops_of_gates_are_those_of_the_compact_network() -> None:
    torch.manual_seed(0)
    network, x = Mixed().eval(), torch.randn(3, 1, 8, 8)
    space = dnal.Space.of(network, x)
    assert space.num_variables == 8  # what the layer of bits reads stays
    space = space.with_cost("bops", bops_cost(network, space, x, 1))
    real, bits = 9 * 8 * 64 + 8 * 4 * 64 + 18, 9 * 2 * 6 * 64
    assert space.full_cost["bops"] == real + bits / 64
    before = space.costs["macs"](torch.ones(8)).item()
    for closed in (1, 3, 7):
        gates = torch.ones(8, dtype=torch.bool)
        gates[:closed] = False
        compact = dnal.compact(network, dnal.Architecture.of(space, gates))
        assert space.costs["bops"](gates).item() == pytest.approx(bops(compact, x), rel=1e-12)
    assert space.costs["macs"](torch.ones(8)).item() == before  # the cost of MACs is as it was


def test_a_budget_bounds_them() -> None:
    budget = Budget.parse("bops<=1.5M")
    assert budget.limits({"bops": 1.0}) == {"bops": 1.5e6}
    assert str(budget) == "bops<=1.5M"
    with pytest.raises(UserError, match="is no unit of bops; write k, M, G or %"):
        Budget.parse("bops<=1ms")
