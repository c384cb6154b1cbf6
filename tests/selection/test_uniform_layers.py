"""Layers whose names differ in numbers only keep equally many channels."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

import dnal
from dnal.selection.ranking import Ranking
from dnal.selection.widths import WidthRule


class Block(nn.Module):
    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(6, hidden), nn.Linear(hidden, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.fc2(self.fc1(x).relu())


def spaces() -> dnal.Space:
    """Three blocks of width 12, and one of 8, on a stream."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(5, 6), *(Block(hidden) for hidden in (12, 12, 8, 12)), nn.Linear(6, 3))
    return dnal.Space.of(network, torch.randn(2, 5))


def widths(space: dnal.Space, chosen: torch.Tensor) -> list[tuple[int, int]]:
    return [(group.width, int(chosen[group.variables].sum())) for group in space.groups]


@pytest.mark.parametrize("rule", [WidthRule(uniform_layers=True), WidthRule(divisor=4, uniform_layers=True)])
@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
def test_equal_widths_within_the_budget(rule: WidthRule, share: float) -> None:
    space = spaces()
    limits = {"macs": share * space.full_cost["macs"]}
    free = 0
    for seed in range(8):
        scores = torch.rand(space.num_gates, generator=torch.Generator().manual_seed(seed))
        chosen = dnal.select(space, scores, limits, rule)
        assert float(space.costs["macs"](chosen)) <= limits["macs"]
        assert len({kept for width, kept in widths(space, chosen) if width == 12}) == 1
        for group in space.groups:  # the best of each layer stay, as they would alone
            own, kept = scores[group.variables], chosen[group.variables]
            assert not (~kept).any() or own[kept].min() >= own[~kept].max()
        alone = dnal.select(space, scores, limits, WidthRule(divisor=rule.divisor))
        free += len({kept for width, kept in widths(space, alone) if width == 12}) > 1
        # No chunk more fits: the next one of every kind of layer is over the budget.
        for width in {width for width, kept in widths(space, chosen) if kept < width}:
            more = chosen.clone()
            for group in (group for group in space.groups if group.width == width):
                closed = group.variables[~chosen[group.variables]]
                more[closed[scores[closed].argsort(descending=True)[: rule.divisor if width > 6 else 1]]] = True
            if rule.divisor == 1:
                assert float(space.costs["macs"](more)) > limits["macs"]
    assert free or rule.divisor > 1  # it is not so by itself


def test_without_it_the_ranking_is_what_it_was() -> None:
    space = spaces()
    ranking, together = Ranking(space), Ranking(space, WidthRule(uniform_layers=True))
    assert (ranking.chunks, ranking.must) == (space.num_gates, len(space.groups))
    assert not ranking.coarse
    assert (together.chunks, together.must) == (space.num_gates - 2 * 12, len(space.groups) - 2)
    assert together.coarse


def test_a_network_without_layers_of_a_kind_is_told() -> None:
    torch.manual_seed(0)
    pairs = [(torch.randn(8, 5), torch.arange(8) % 3) for _ in range(2)]
    chain = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3))
    blocks = nn.Sequential(nn.Linear(5, 6), Block(12), Block(12), nn.Linear(6, 3))
    for network, told in ((chain, True), (blocks, False)):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            dnal.learn(
                network, pairs, pairs, pairs, method="uniform", epochs=(0, 0, 0), budget="macs<=70%",
                widths="uniform_layers=true",
            )  # fmt: skip
        assert any("--uniform-layers changes nothing" in str(one.message) for one in caught) == told
