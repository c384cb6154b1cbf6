"""A network that opens a chunk after another: what it costs, and how far it may open within limits.

How far each group is open says everything, since its chunks open in their own order. So the sums of gates that a
cost is made of are read from tables, one for each group and sum: a question about a million variables is one about as
many numbers as there are groups.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from dnal.selection.ranking import Order
from dnal.space.cost import Cost, CostFunction

AT_ONCE = 2**22
"""Numbers in memory where many networks are counted together."""


class Opening:
    """The networks that an order goes through. Each is a state: how many chunks of every group are open, int64
    (groups,).

    Args:
        costs: by name. limits: of some of them, in their own units.
    """

    def __init__(self, order: Order, costs: Mapping[str, CostFunction], limits: Mapping[str, float]) -> None:
        place, self.group_at = order.place.cpu(), order.group_at.cpu()
        self.counts = torch.bincount(self.group_at)
        self.starts = self.counts.cumsum(0) - self.counts
        self.places = self.group_at.argsort(stable=True)  # group by group, in their own order
        rank_at = torch.empty_like(self.places)
        rank_at[self.places] = torch.arange(self.places.numel()) - self.starts.repeat_interleave(self.counts)
        self.group_of, self.rank_of = self.group_at[place], rank_at[place]
        self.limits = dict(limits)
        self._counted: dict[str, _Counted] = {}
        self._asked: dict[str, CostFunction] = {}
        for name in self.limits:
            cost = costs[name]
            if isinstance(cost, Cost):
                self._counted[name] = _Counted(cost, self)
            else:
                self._asked[name] = cost

    def gates(self, state: Tensor) -> Tensor:
        """Which variables are open, bool (num_gates,)."""
        return self.rank_of < state[self.group_of]

    def head(self, opened: int) -> Tensor:
        """The state in which the first chunks of the order are open."""
        return torch.bincount(self.group_at[:opened], minlength=self.counts.numel())

    def cost(self, name: str, state: Tensor) -> float:
        """A cost that is limited."""
        counted = self._counted.get(name)
        return float(self._asked[name](self.gates(state)) if counted is None else counted(state))

    def used(self, state: Tensor) -> float:
        """The share of the limit that is used most; 1 where there is none."""
        return max((self.cost(name, state) / limit for name, limit in self.limits.items()), default=1.0)

    def fits(self, state: Tensor) -> bool:
        """Whether every limit is kept. What is counted is looked at first: others may be measured ones."""
        return all(self.cost(name, state) <= self.limits[name] for name in (*self._counted, *self._asked))

    def filled(self, opened: int, queue: Tensor | None = None) -> Tensor:
        """The state in which chunks have opened, one after another, wherever they fit. A group is left once its next
        chunk does not fit: it will not fit later either.

        Args:
            opened: how many chunks at the head open whether they fit or not. queue: the places of the chunks that may
                open, in their turn; by default all, in their order. Those of a group stand in their own order, and
                where some are missing, they are its last.
        """
        if not self.counts.numel():
            return self.counts
        length = self.group_at.numel() if queue is None else queue.numel()
        turn = self.places
        if queue is not None:
            turn = torch.full_like(self.group_at, length)
            turn[queue] = torch.arange(length)
            turn = turn[self.places]
        groups = torch.arange(self.counts.numel())
        turns = groups.repeat_interleave(self.counts) * (length + 1) + turn  # ascending
        active, left = torch.ones_like(groups, dtype=torch.bool), torch.zeros_like(groups)

        def state(count: int) -> Tensor:
            reached = torch.searchsorted(turns, groups * (length + 1) + count) - self.starts
            return torch.where(active, reached, left)

        while True:
            opened = longest(opened, length, lambda count: self.fits(state(count)))
            now = state(opened)
            following = (self.starts + now).clamp(max=turn.numel() - 1)
            next_turn = torch.where(active & (now < self.counts), turn[following], length)
            if int(next_turn.min()) >= length:
                return now
            full = self._full(now, next_turn < length)
            full[next_turn.argmin()] = True
            left, active = torch.where(full, now, left), active & ~full
            opened = int(torch.where(full, length, next_turn).min())

    def exchanges(self, state: Tensor, must: int, *, widths: bool) -> Iterator[tuple[int, Tensor]]:
        """Other heads that must open, and queues: each group in turn stops before its last open chunk, the least wanted
        first; then each group in turn opens its first closed chunk before all others, the most wanted first, a branch
        together with those that are open.

        Args:
            widths: whether all groups are exchanged, or those alone that are branches and closed.
        """
        places = torch.arange(self.group_at.numel())
        if bool((state == self.counts).all()):
            return
        last = self.places[self.starts + (state - 1).clamp(min=0)]
        for place, group in sorted(zip(last[state > 0].tolist(), state.nonzero().flatten().tolist(), strict=True))[
            ::-1
        ]:
            if place >= must and widths:
                yield must, places[(self.group_at != group) | (places < place)]
        closed = state < self.counts
        first = self.places[(self.starts + state).clamp(max=places.numel() - 1)]
        branches = (self.group_at >= must) & (state[self.group_at] > 0)
        for place, group in sorted(zip(first[closed].tolist(), closed.nonzero().flatten().tolist(), strict=True)):
            head = (places < must) | ((self.group_at == group) & (places <= place))
            if group >= must:
                head |= branches
            elif not widths:
                continue
            yield int(head.sum()), torch.cat((places[head], places[~head]))

    def _full(self, state: Tensor, candidates: Tensor) -> Tensor:
        """The candidates whose next chunk does not fit, as far as that is counted; bool (groups,)."""
        full, groups = torch.zeros_like(candidates), candidates.nonzero().flatten()
        for name, counted in self._counted.items():
            full[groups] |= counted.with_next(state, groups) > self.limits[name]
        return full


class _Counted:
    """A sum of products of gate sums, by how far the groups are open: the same number as its function of gates."""

    def __init__(self, cost: Cost, opening: Opening) -> None:
        index, segment = cost.index.cpu(), cost.segment.cpu()
        self._factors, self._rows, self._base = cost.factors.cpu(), cost.rows.cpu(), cost.base.cpu()
        groups = opening.counts.numel()
        # The channels of a group are neighbours: sorting the few runs of them is faster than sorting all channels.
        runs, run = torch.unique_consecutive(segment * groups + opening.group_of[index], return_inverse=True)
        pairs, pair_of_run = torch.unique(runs, return_inverse=True)
        pair = pair_of_run[run]
        self._sum, self._group = pairs // groups, pairs % groups
        sizes = opening.counts[self._group] + 1
        self._start = sizes.cumsum(0) - sizes
        entries = torch.bincount(self._start[pair] + opening.rank_of[index] + 1, minlength=int(sizes.sum()))
        self._table = entries.cumsum(0).to(torch.float64)  # each pair's begins at what those before it sum up to
        self._before = self._table[self._start]
        by_group = self._group.argsort(stable=True)
        own = torch.bincount(self._group, minlength=groups)
        self._pairs, self._pairs_from = by_group, torch.cat((own.new_zeros(1), own.cumsum(0)))

    def __call__(self, state: Tensor) -> Tensor:
        sums = self._sums(state)
        return (self._factors * sums[self._rows].prod(dim=1)).sum()

    def with_next(self, state: Tensor, groups: Tensor) -> Tensor:
        """The cost where the next chunk of one of ``groups`` is open too, for each of them, (len(groups),)."""
        sums, costs = self._sums(state), []
        more = torch.zeros_like(state)
        more[groups] = 1
        at = self._start + state[self._group]
        grown = self._table[at + more[self._group]] - self._table[at]
        step = max(1, AT_ONCE // max(1, self._rows.numel() + self._base.numel()))
        for some in groups.split(step):
            several = sums.repeat(some.numel(), 1)
            for number, group in enumerate(some.tolist()):
                own = self._pairs[self._pairs_from[group] : self._pairs_from[group + 1]]
                several[number, self._sum[own]] += grown[own]  # a pair for each sum
            costs.append((self._factors * several[:, self._rows].prod(dim=2)).sum(dim=1))
        return torch.cat(costs) if costs else sums.new_zeros(0)

    def _sums(self, state: Tensor) -> Tensor:
        reached = self._table[self._start + state[self._group]] - self._before
        return self._base.index_add(0, self._sum, reached)


def longest(least: int, most: int, fitting: Callable[[int], bool], near: int | None = None) -> int:
    """The largest number from ``least`` to ``most`` that fits, where every smaller one fits too (``least`` is not
    asked). Away from ``near`` (by default ``least``) steps double until the answer is between two known numbers, which
    are then halved: few questions where it is near."""
    low, high, step = least, most, 1
    guess = min(max(least + 1 if near is None else near, least + 1), most)
    bracketed = set()
    while low < high:
        fit = fitting(guess)
        low, high = (guess, high) if fit else (low, guess - 1)
        bracketed.add(fit)
        step *= 2
        if len(bracketed) == 2:
            guess = (low + high + 1) // 2
        else:
            guess = min(low + step, high) if fit else max(high - step, low + 1)
    return low
