"""What the probe asks: each removal once, and removals that tell any two groups apart."""

import itertools
import random
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

import dnal
from dnal.space.probe import Probe, told_apart, uneven
from dnal.space.surgery.remove import kept_indices


@pytest.fixture(scope="module")
def probe() -> Probe:
    return Probe(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)), torch.randn(2, 4))


@pytest.mark.parametrize("seed", range(20))
def test_what_fails_is_found_and_nothing_is_asked_twice(probe: Probe, seed: int) -> None:
    draw = random.Random(seed)
    count = draw.randint(1, 40)
    bad = {draw.randrange(count) for _ in range(draw.randint(0, 6))}
    asked: list[frozenset[int]] = []

    def exact(chosen: Sequence[int]) -> bool:
        asked.append(frozenset(chosen))
        return not bad & set(chosen)

    assert probe._failing(exact, count) == sorted(bad)
    assert len(set(asked)) == len(asked)


def test_of_two_that_fail_together_one_stays(probe: Probe) -> None:
    for one, other in itertools.combinations(range(7), 2):
        (left,) = probe._failing(lambda chosen, both={one, other}: not both <= set(chosen), 7)  # type: ignore[misc]
        assert left in (one, other)


@pytest.mark.parametrize("count", [1, 2, 3, 8, 13])
def test_any_two_groups_are_told_apart(count: int) -> None:
    groups = list(torch.arange(4 * count).view(count, 4))
    first, *others = told_apart(groups, 0.25)
    assert all(0 < len(part) < 4 for part in first)
    for one, other in itertools.combinations(range(count), 2):
        assert any(bool(len(off[one])) != bool(len(off[other])) for off in others)
    for off, group in ((off, group) for choice in others for off, group in zip(choice, groups, strict=True)):
        assert bool(torch.isin(off, group).all())


def test_groups_that_lost_different_shares_are_apart_already() -> None:
    groups = list(torch.arange(12 * 16).view(12, 16))
    tried = [uneven(groups), uneven(groups, 0.5)]
    _, *others = told_apart(groups, 0.25, tried)
    assert 0 < len(others) < len(told_apart(groups, 0.25)) - 1
    for one, other in itertools.combinations(range(12), 2):
        choices = [*tried, *others]
        assert any(len(choice[one]) != len(choice[other]) for choice in choices)
    small = list(torch.arange(12 * 2).view(12, 2))  # of each half leaves, whatever the share
    _, *others = told_apart(small, 0.25, [uneven(small), uneven(small, 0.5)])
    for one, other in itertools.combinations(range(12), 2):
        assert any(len(choice[one]) != len(choice[other]) for choice in others)


class Tells(nn.Linear):
    """Notes whether its weight is one that is trained."""

    def forward(self, x: Tensor) -> Tensor:
        trained.append(self.weight.requires_grad)
        return super().forward(x)


trained: list[bool] = []


def test_what_stands_in_for_a_weight_is_trained_if_the_weight_is() -> None:
    """torch computes a product with a weight that is not in another way, at half the speed."""
    network = nn.Sequential(Tells(4, 6), nn.ReLU(), Tells(6, 2))
    trained.clear()
    dnal.Space.of(network, torch.randn(2, 4))
    assert trained
    assert all(trained)
    network[2].weight.requires_grad_(False)
    trained.clear()
    dnal.Space.of(network, torch.randn(2, 4))
    assert trained.count(False) == trained.count(True)


class Counted(nn.Module):
    """Counts its passes, and refuses to run narrower than three."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        passes.append(self.first.out_features)
        if self.first.out_features < 3:
            raise ValueError("too narrow")
        return self.last(torch.relu(self.first(x)))  # type: ignore[no-any-return]


passes: list[int] = []


def test_a_removal_is_judged_once_and_a_crash_costs_no_pass_of_the_whole_network() -> None:
    own = Probe(Counted(), torch.randn(2, 4))
    channels = torch.arange(6)
    sources = {"first.weight": (channels, None), "first.bias": (channels,), "last.weight": (None, channels)}

    def passed(width: int) -> tuple[bool, list[int]]:
        passes.clear()
        return own.exact(kept_indices(sources, channels < width)), list(passes)

    assert passed(4) == (True, [4, 6])
    assert passed(4) == (True, [])
    assert passed(2) == (False, [2])
    assert passed(2) == (False, [])
