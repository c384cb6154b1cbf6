"""The order in which a network opens, given a score per variable.

Within a group variables open in order of score, a chunk at a time: a chunk leads from one width that the group may have
to the next. Chunks of all groups are ranked by the mean score of their variables; the first chunk of each group must
stay. A branch variable is a chunk of its own, which need not, except for the best of each choice (``Space.choices``).
Where layers of one kind keep equal widths, the chunks of their groups open together, as one.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import torch
from torch import Tensor

from dnal.selection.widths import WidthRule
from dnal.space.space import Space

_NUMBER = re.compile(r"(?<![^.])\d+(?![^.])")
"""A part of a name that is a number."""


class Order(NamedTuple):
    """``place``: that of each variable's chunk, from 0, shape (num_gates,); {place < n} are the variables of the first
    n chunks. ``group_at``: the group of the chunk at each place, shape (chunks,)."""

    place: Tensor
    group_at: Tensor


class Ranking:
    """The chunks of a Space under a rule for widths.

    Attributes:
        chunks: how many there are. must: how many of them, at the head of every order, must stay.
        group_of: per chunk the number of its group, shape (chunks,); the branches of a choice are one group, any other
            branch is a group of its own, and groups that open together are one.
    """

    def __init__(self, space: Space, widths: WidthRule | None = None) -> None:
        widths = widths or WidthRule()
        group_of_variable = torch.zeros(space.num_gates, dtype=torch.long)
        sizes_of: list[Tensor] = []  # of each group
        for number, group in enumerate(space.groups):
            group_of_variable[group.variables] = number
            sizes_of.append(torch.tensor([0, *widths.allowed_in(space, group)]).diff())
        chosen = {int(variable) for choice in space.choices for variable in choice}
        single = [torch.tensor([b.variable]) for b in space.branches if b.variable not in chosen]
        for number, variables in enumerate([*space.choices, *single], start=len(space.groups)):
            group_of_variable[variables] = number
            sizes_of.append(torch.ones(variables.numel(), dtype=torch.long))
        sizes = torch.cat(sizes_of) if sizes_of else torch.zeros(0, dtype=torch.long)
        together = _together(space, sizes_of) if widths.uniform_layers else list(range(len(sizes_of)))
        counts = {one: own.numel() for one, own in zip(together, sizes_of, strict=True)}
        of_each = torch.tensor(list(counts.values()), dtype=torch.long)
        starts = of_each.cumsum(0) - of_each
        chunk_of = torch.cat([starts[one] + torch.arange(counts[one]) for one in together]) if together else sizes
        self.group_of = torch.arange(len(counts)).repeat_interleave(of_each)
        self.chunks = self.group_of.numel()
        self.must = len(set(together[: len(space.groups)])) + len(space.choices)
        self._group_of_variable = group_of_variable
        self._chunk_of_slot = chunk_of.repeat_interleave(sizes)
        self._sizes = torch.zeros(self.chunks, dtype=torch.float64).index_add_(0, chunk_of, sizes.to(torch.float64))
        first = torch.ones_like(self.group_of, dtype=torch.bool)
        first[1:] = self.group_of[1:] != self.group_of[:-1]
        self._stays = first & (self.group_of < self.must)

    @property
    def coarse(self) -> bool:
        """Whether several channels open at once anywhere."""
        return self.chunks < self._group_of_variable.numel()

    def order(self, scores: Tensor) -> Order:
        """The order in which chunks open; ``scores``: (num_gates,), higher opens first."""
        scores = scores.detach().cpu().to(torch.float64)
        by_score = scores.argsort(descending=True, stable=True)
        by_group = by_score[self._group_of_variable[by_score].argsort(stable=True)]  # group by group, best first
        chunk = torch.empty_like(by_group)
        chunk[by_group] = self._chunk_of_slot
        if self.coarse:
            first = torch.full_like(self.group_of, scores.numel())
            first.scatter_reduce_(0, chunk, torch.arange(scores.numel()), "amin")
            order = first.argsort()
            mean = torch.zeros_like(self._sizes).index_add(0, chunk, scores) / self._sizes
            order = order[mean[order].argsort(descending=True, stable=True)]
        else:  # chunks of one variable each: their order is that of the scores, already sorted
            order = chunk[by_score]
        order = torch.cat((order[self._stays[order]], order[~self._stays[order]]))
        place = self.group_of[order].argsort(stable=True)  # a group's places go to its chunks in their own order
        group_at = torch.empty_like(place)
        group_at[place] = self.group_of
        return Order(place[chunk], group_at)


def _together(space: Space, sizes_of: list[Tensor]) -> list[int]:
    """Per group the number of those with which it opens: they are made and read by layers whose names differ in numbers
    only, and may have the same widths. Choices and branches open alone."""
    numbers: dict[object, int] = {}
    found = []
    for number, sizes in enumerate(sizes_of):
        key: object = number
        if number < len(space.groups):
            places = frozenset((_NUMBER.sub("*", name), dim) for name, dim in space.groups[number].places)
            key = (places, tuple(sizes.tolist()))
        found.append(numbers.setdefault(key, len(numbers)))
    return found


def ranks(space: Space, scores: Tensor) -> Tensor:
    """The place of every channel in its group, from 0 (the highest score); (num_variables,)."""
    result = torch.empty(space.num_variables, dtype=torch.long)
    for group in space.groups:
        result[group.variables[scores[group.variables].argsort(descending=True, stable=True)]] = torch.arange(
            group.width
        )
    return result
