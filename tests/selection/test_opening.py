"""Selection by how far each group is open, against the same by the gates of every variable."""

import itertools
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

import dnal
from dnal.selection.opening import Opening, longest
from dnal.selection.ranking import Order, Ranking
from dnal.selection.select import CLOSE, ENOUGH, fits, select
from dnal.selection.widths import WidthRule

RULES = (WidthRule(), WidthRule(divisor=4), WidthRule(divisor=8), WidthRule.liked(), WidthRule(min_width=0.3))


def filled(space: dnal.Space, limits: dict[str, float], order: Order, opened: int, queue: Tensor) -> Tensor:
    """The slow way: each question is about all variables, and a group that is full leaves the queue."""
    while True:
        turn = torch.full_like(order.group_at, queue.numel())
        turn[queue] = torch.arange(queue.numel())
        turns = turn[order.place]
        opened = longest(opened, queue.numel(), lambda n: fits(space.costs, limits, turns < n))  # noqa: B023
        if opened == queue.numel():
            return turns < opened
        rest = queue[opened:]
        queue = torch.cat((queue[:opened], rest[order.group_at[rest] != order.group_at[rest[0]]]))


def exchanges(order: Order, must: int, chosen: Tensor, widths: bool) -> Iterator[tuple[Tensor, int]]:
    """Queues of which one chunk is left out, or put first, a branch with the open ones; of branches that are closed
    alone where widths rise one by one."""
    places = list(range(order.group_at.numel()))
    group_at = order.group_at.tolist()
    opened = set(order.place[chosen].tolist())
    closed = [place for place in places if place not in opened]
    if not closed:
        return
    last = {group_at[place]: place for place in places if place in opened}
    for place, group in sorted(((place, group) for group, place in last.items()), reverse=True):
        if place >= must and widths:
            yield torch.tensor([p for p in places if group_at[p] != group or p < place]), must
    first = {group_at[place]: place for place in reversed(closed)}
    for place, group in sorted((place, group) for group, place in first.items()):
        if group < must and not widths:
            continue
        with_it = {p for p in opened if group_at[p] >= must} if group >= must else set()
        head = [p for p in places if p < must or (group_at[p] == group and p <= place) or p in with_it]
        yield torch.tensor([*head, *(p for p in places if p not in set(head))]), len(head)


def slowly(space: dnal.Space, scores: Tensor, limits: dict[str, float], widths: WidthRule) -> Tensor:
    ranking = Ranking(space, widths)
    order = ranking.order(scores)

    def used(chosen: Tensor) -> float:
        return max(float(space.costs[name](chosen)) / limit for name, limit in limits.items())

    chosen = filled(space, limits, order, ranking.must, torch.arange(order.group_at.numel()))
    share = used(chosen)
    for queue, opened in exchanges(order, ranking.must, chosen, ranking.coarse):
        if share >= (CLOSE if ranking.coarse else ENOUGH):
            break
        other = filled(space, limits, order, opened, queue)
        if share < used(other) <= 1:
            chosen, share = other, used(other)
    return chosen


class Joined(nn.Module):
    """Streams that are concatenated, added, and multiplied in halves: sums over several groups, and several in one."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 24, 1), nn.Conv2d(24, 12, 3, padding=1), nn.Conv2d(36, 20, 1)
        self.d, self.e = nn.Conv2d(20, 20, 3, padding=1, groups=20), nn.Conv2d(20, 24, 1)
        self.f, self.g = nn.Conv2d(24, 16, 1), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        a = self.a(x).relu()
        joined = self.c(torch.cat((a, self.b(a)), dim=1)).relu()
        left, right = self.f(self.e(self.d(joined)).relu() + a).chunk(2, dim=1)
        out: Tensor = self.g((left * right.sigmoid()).mean((2, 3)))
        return out


@pytest.fixture(scope="module", params=["joined", "resnet"])
def wide(request: pytest.FixtureRequest) -> dnal.Space:
    if request.param == "joined":
        space = dnal.Space.of(Joined(), torch.zeros(2, 3, 6, 6))
    else:
        network = dnal.models.create("cifar/resnet20", classes=10, input_shape=(3, 32, 32))
        space = dnal.Space.of(network, torch.zeros(2, 3, 32, 32), probe=False, depth=True)
    macs = space.costs["macs"]
    return space.with_cost("latency", lambda gates: macs(gates).sqrt() + 0.01 * gates.double().sum())


@pytest.mark.parametrize("widths", RULES, ids=str)
def test_the_selection_is_that_of_the_slow_way(wide: dnal.Space, widths: WidthRule) -> None:
    full = wide.cost_of(torch.ones(wide.num_gates, dtype=torch.bool))
    exchanged = 0
    for seed, share in itertools.product(range(3), (0.35, 0.6)):
        scores = torch.randn(wide.num_gates, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        for limits in (
            {"macs": share * full["macs"]},
            {"params": share * full["params"], "macs": 1.1 * share * full["macs"]},
            {"latency": 1.2 * share * full["latency"], "params": 1.3 * share * full["params"]},
        ):
            try:
                chosen = select(wide, scores, limits, widths)
            except dnal.UserError:
                continue
            assert torch.equal(chosen, slowly(wide, scores, limits, widths))
            exchanged += 1
    assert exchanged >= 4


def test_costs_by_groups_are_those_by_gates_to_the_last_bit(wide: dnal.Space) -> None:
    for widths in RULES:
        order = Ranking(wide, widths).order(torch.rand(wide.num_gates, dtype=torch.float64))
        opening = Opening(order, wide.costs, dict.fromkeys(wide.costs, 1.0))
        for seed in range(5):
            draw = torch.rand(opening.counts.numel(), generator=torch.Generator().manual_seed(seed))
            state = (draw * (opening.counts + 1)).long()
            gates = opening.gates(state)
            for name, cost in wide.costs.items():
                assert opening.cost(name, state) == float(cost(gates))
            more = (state < opening.counts).nonzero().flatten()
            for name, counted in opening._counted.items():
                of_each = counted.with_next(state, more)
                for group, own in zip(more.tolist(), of_each.tolist(), strict=True):
                    following = state.clone()
                    following[group] += 1
                    assert own == pytest.approx(float(wide.costs[name](opening.gates(following))), rel=1e-12)
        assert set(opening._counted) == {"macs", "params"}
