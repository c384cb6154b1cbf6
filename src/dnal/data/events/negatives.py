"""Pairs that have no event now: drawn, or such as had one before."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from dnal.data.events.events import Events

Negative = Literal["random", "historical", "inductive"]
NEGATIVES: tuple[Negative, ...] = ("random", "historical", "inductive")


class Negatives:
    """Draws negatives: pairs to tell apart from those of a batch.

    Random: the same source, and any node; by chance that is a pair that has an event. Historical: a pair that had an
    event in training. Inductive: a pair that had an event after training and before now, and none in training. Neither
    of the last two is a pair of the batch itself; where there are too few of them, random ones fill up.

    Source: Poursafaei et al., "Towards Better Evaluation for Dynamic Link Prediction" (2022), section 4; recalled.
    """

    def __init__(self, events: Events) -> None:
        self._events = events
        self._end = events.ends[0]
        self._keys = events.source * events.nodes + events.target
        self._trained = self._keys[: self._end].unique()
        later = self._keys[self._end :]
        self._new = ~torch.isin(later, self._trained)

    def __call__(self, kind: Negative, first: int, last: int, past: int, draw: torch.Generator) -> Tensor:
        """As many pairs as the batch has events, (last - first, 2).

        Args:
            first, last: of the batch's events. past: how many events are known, those before the batch's time.
        """
        events, count = self._events, last - first
        other = torch.randint(events.nodes, (count,), generator=draw)
        pairs = torch.stack([events.source[first:last], other], 1)
        if kind == "random":
            return pairs
        if kind == "historical":
            known = self._trained
        else:
            later = max(0, past - self._end)
            known = self._keys[self._end : self._end + later][self._new[:later]].unique()
        known = known[~torch.isin(known, self._keys[first:last])]
        chosen = known[torch.randperm(len(known), generator=draw)[:count]]
        pairs[: len(chosen)] = torch.stack([chosen // events.nodes, chosen % events.nodes], 1)
        return pairs
