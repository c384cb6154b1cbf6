import itertools

import pytest
import torch
from torch import Tensor, nn

import dnal
from dnal.methods.magnitude import l1_scores
from dnal.methods.uniform import random_scores, uniform_scores
from dnal.selection.ranking import Ranking
from dnal.selection.select import select
from dnal.selection.widths import WidthRule


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.second = nn.Conv2d(12, 20, 3, padding=1), nn.BatchNorm2d(20), nn.Conv2d(20, 12, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.second(self.norm(self.first(x)).relu())
        return out


@pytest.fixture(scope="module")
def residual() -> dnal.Space:
    network = nn.Sequential(nn.Conv2d(1, 12, 3), Block(), Block(), nn.Flatten(), nn.Linear(12 * 16, 2))
    return dnal.Space.of(network, torch.zeros(2, 1, 6, 6), depth=True)


def written_out(space: dnal.Space, widths: WidthRule, scores: Tensor) -> list[list[int]]:
    """The chunks in their order, group by group and without tensors."""
    head, rest = [], []
    for group in space.groups:
        best_first = sorted(group.variables.tolist(), key=lambda v: (-float(scores[v]), v))
        counts = widths.allowed_in(space, group)
        head.append(best_first[: counts[0]])
        rest += [best_first[low:high] for low, high in itertools.pairwise(counts)]
    rest += [[branch] for branch in range(space.num_variables, space.num_gates)]

    def place(chunk: list[int]) -> tuple[float, int]:
        return -sum(float(scores[v]) for v in chunk) / len(chunk), min(chunk)

    return sorted(head, key=place) + sorted(rest, key=place)


@pytest.mark.parametrize("widths", [WidthRule(), WidthRule(divisor=4), WidthRule(divisor=8), WidthRule(min_width=0.5)])
def test_the_order_against_one_without_tensors(residual: dnal.Space, widths: WidthRule) -> None:
    ranking = Ranking(residual, widths)
    assert residual.num_branches == 2
    for seed in range(5):
        scores = torch.rand(residual.num_gates, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        order = ranking.order(scores)
        found = [sorted((order.place == place).nonzero().squeeze(1).tolist()) for place in range(ranking.chunks)]
        assert found == [sorted(chunk) for chunk in written_out(residual, widths, scores)]
        for place, variables in enumerate(found):
            group = int(order.group_at[place])
            members = residual.groups[group].variables.tolist() if group < len(residual.groups) else variables
            assert set(variables) <= set(members)


def test_no_branch_must_stay(residual: dnal.Space) -> None:
    scores = torch.ones(residual.num_gates)
    scores[residual.num_variables :] = -1
    ranking = Ranking(residual)
    assert ranking.must == len(residual.groups)
    assert order_of_branches(ranking, residual, scores) == [ranking.chunks - 2, ranking.chunks - 1]
    scores[residual.num_variables :] = 2
    assert order_of_branches(ranking, residual, scores) == [ranking.must, ranking.must + 1]


def order_of_branches(ranking: Ranking, space: dnal.Space, scores: Tensor) -> list[int]:
    places: list[int] = ranking.order(scores).place[space.num_variables :].tolist()
    return places


@pytest.mark.parametrize("widths", [WidthRule(), WidthRule(divisor=4)])
def test_equal_scores_keep_the_order_within_a_group(residual: dnal.Space, widths: WidthRule) -> None:
    """Chunks of equal worth open in their own order: at no moment a group has a width that is not allowed."""
    ranking = Ranking(residual, widths)
    for scores in (torch.zeros(residual.num_gates), torch.arange(residual.num_gates).flip(0).div(7).floor() / 10):
        order = ranking.order(scores)
        for opened in range(ranking.must, ranking.chunks + 1):
            for group in residual.groups:
                count = int((order.place[group.variables] < opened).sum())
                assert count in widths.allowed_in(residual, group)


def test_coarse_says_whether_several_open_at_once(residual: dnal.Space) -> None:
    assert not Ranking(residual).coarse
    assert Ranking(residual, WidthRule(divisor=4)).coarse


def test_rankings_of_channels_alone_leave_the_branches_open(residual: dnal.Space) -> None:
    network = nn.Sequential(nn.Conv2d(1, 12, 3), Block(), Block(), nn.Flatten(), nn.Linear(12 * 16, 2))
    for scores in (l1_scores(network, residual), uniform_scores(residual, random_scores(residual, 0))):
        chosen = select(residual, scores, {"macs": 0.5 * residual.full_cost["macs"]})
        assert bool(chosen[residual.num_variables :].all())


class Wide(Block):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.second = (
            nn.Conv2d(12, 160, 3, padding=1),
            nn.BatchNorm2d(160),
            nn.Conv2d(160, 12, 1),
        )


@pytest.mark.parametrize("share", [0.2, 0.4, 0.6, 0.9])
def test_branches_that_are_wanted_least_leave_no_budget_unused(share: float) -> None:
    """While they are closed, the channels within them cost nothing, and all of them open; yet then none fits whole."""
    network = nn.Sequential(nn.Conv2d(1, 12, 3), Wide(), Wide(), Wide(), nn.Flatten(), nn.Linear(12 * 16, 2))
    space = dnal.Space.of(network, torch.zeros(2, 1, 6, 6), depth=True)
    assert space.num_branches == 3
    limit = share * space.full_cost["macs"]
    for widths in (WidthRule(), WidthRule(divisor=4)):
        for seed in range(3):
            scores = torch.rand(space.num_gates, generator=torch.Generator().manual_seed(seed))
            scores[space.num_variables :] -= 2
            chosen = select(space, scores, {"macs": limit}, widths)
            assert 0.95 * limit <= space.cost_of(chosen)["macs"] <= limit
            for group in space.groups:
                assert int(chosen[group.variables].sum()) in widths.allowed_in(space, group)
