"""Batches of events to predict, each with the window of events before it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import torch
from torch import Tensor

from dnal.data.events.events import Events
from dnal.data.events.negatives import Negative, Negatives

Batch = tuple[dict[str, Tensor], Tensor]
MOST_KEPT = 2**22
"""Events in all windows that are cached, at most."""
FEATURES = 3
"""Of an event, :func:`causal_features`."""


def causal_features(pairs: Tensor) -> Tensor:
    """What the events before it say of each event of a window, as log(1 + number): how many its source had, how many
    its target had, and how many nodes both have met; (W, 2) -> (W, 3).

    Examples:
        >>> from dnal.data.events.windows import causal_features
        >>> causal_features(torch.tensor([[0, 1], [2, 1], [0, 2]])).expm1().round()
        tensor([[0., 0., 0.],
                [0., 1., 0.],
                [1., 1., 1.]])
    """
    met: dict[int, set[int]] = defaultdict(set)
    had: dict[int, int] = defaultdict(int)
    rows = []
    for one, other in pairs.tolist():
        rows.append((had[one], had[other], len(met[one] & met[other])))
        for a, b in ((one, other), (other, one)):
            had[a] += 1
            met[a].add(b)
    return torch.tensor(rows, dtype=torch.float32).view(-1, FEATURES).log1p()


class Windows:
    """Windows of events, each strictly before the batch predicted from it: no event of the batch's first time, and
    none later, is in it.

    Args:
        width: events of a window, fewer at the beginning. batch: events that are predicted from one window.
    """

    def __init__(self, events: Events, *, width: int = 2048, batch: int = 200) -> None:
        self.events, self.width, self.batch = events, width, batch
        self.negatives = Negatives(events)
        self._known: dict[int, dict[str, Tensor]] = {}

    def past(self, first: int) -> int:
        """How many events are before the time of event ``first``."""
        return int(torch.searchsorted(self.events.time, self.events.time[first].item(), side="left"))

    def window(self, first: int) -> dict[str, Tensor]:
        """What a network may know to predict event ``first``: ``events`` (1, W, 2), their ``ages`` (1, W), from 0,
        now, to 1, the first one, and their ``features`` (1, W, 3)."""
        found = self._known.get(first)
        if found is None:
            end = self.past(first)
            own = slice(max(0, end - self.width), end)
            pairs, time = self.events.pairs[own], self.events.time[own]
            age = self.events.time[first] - time
            span = age.max().clamp(min=1e-9)
            found = {
                "events": pairs[None], "ages": (age / span).float()[None], "features": causal_features(pairs)[None],
            }  # fmt: skip
            if len(self._known) < MOST_KEPT // self.width:
                self._known[first] = found
        return found

    def batches(self, first: int, last: int, kind: Negative, seed: int) -> Iterator[Batch]:
        """Batches of the events from ``first`` to before ``last``, in their order, with a pair without an event for
        each: inputs of :class:`dnal.models.temporal.todyformer.Todyformer`, and targets (1, 2 n), 1 for an event.

        Events before which there are none are left out.
        """
        draw = torch.Generator().manual_seed(seed)
        for start in range(first, last, self.batch):
            end = min(last, start + self.batch)
            past = self.past(start)
            if not past:
                continue
            pairs = torch.cat([self.events.pairs[start:end], self.negatives(kind, start, end, past, draw)])
            happened = torch.arange(len(pairs)) < end - start
            yield {**self.window(start), "pairs": pairs[None]}, happened.long()[None]
