"""A data set from events: an example is a window of them, and the events after it beside pairs that have none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from dnal.base.errors import UserError
from dnal.base.options import Options, option
from dnal.data.dataset import Dataset
from dnal.data.events.events import from_raw
from dnal.data.events.raw import RawEvents
from dnal.data.events.windows import Windows
from dnal.data.kind import Wanted
from dnal.data.objective import NEXT_EVENT
from dnal.data.splits import VALIDATION_SEED, limited
from dnal.train.batch import LABELS
from dnal.train.evaluate import IGNORED

WINDOW, TOLD = 256, 50
MOST_WINDOW, MOST_TOLD = 2**16, 2**15
CLASSES = ("no event", "an event")


@dataclass(frozen=True)
class EventOptions(Options):
    """What can be said of events."""

    window: int | None = option(
        None, f"Events that are seen, those before the ones that are told; default {WINDOW}.", least=8, most=MOST_WINDOW
    )
    told: int | None = option(None, f"Events that are told at once; default {TOLD}.", least=1, most=MOST_TOLD)


@dataclass(frozen=True, eq=False)
class EventsPart:
    """Windows of events, each with the events that are told from it, and as many pairs that have none.

    Args:
        windows: of all events.
        starts: the first event that is told in each example, (N,).
        last: behind the last event of the part.
        augmentation: True: every batch draws other pairs without an event; None: they are the same ones each time.
    """

    windows: Windows
    starts: Tensor
    last: int
    augmentation: bool | None = None

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def x(self) -> Mapping[str, Tensor]:
        """What tells the examples."""
        events = self.windows.events
        return {"starts": self.starts, "pairs": events.pairs[: self.last], "time": events.time[: self.last]}

    @property
    def y(self) -> Tensor:
        """1 for the pairs with an event, and 0 for those without one behind them, (N, 2 told); of an example that tells
        fewer, those that are missing are -100, which neither loss nor metric counts."""
        return self._targets(self.starts)

    def _targets(self, starts: Tensor) -> Tensor:
        there = torch.arange(self.windows.batch) < (self.last - starts)[:, None]
        return torch.cat([torch.where(there, told, IGNORED) for told in (1, 0)], 1)

    def batch(self, indices: Tensor, seed: int) -> dict[str, Tensor]:
        draw = torch.Generator().manual_seed(seed)
        rows = [self._row(int(self.starts[i]), draw) for i in indices.tolist()]
        found = {name: torch.cat([row[name] for row in rows]) for name in rows[0]}
        return found | {LABELS: self._targets(self.starts[indices])}

    def _row(self, start: int, draw: torch.Generator) -> dict[str, Tensor]:
        own, told = self.windows, self.windows.batch
        end = min(self.last, start + told)
        if self.augmentation is None:
            draw = torch.Generator().manual_seed(VALIDATION_SEED + start)
        pairs = torch.zeros(2 * told, 2, dtype=torch.long)
        pairs[: end - start] = own.events.pairs[start:end]
        negatives = own.negatives("random", start, end, own.past(start), draw)
        pairs[told : told + end - start] = negatives
        return {**own.window(start), "pairs": pairs[None]}


def from_events(name: str, raw: RawEvents, wanted: Wanted, options: EventOptions) -> Dataset:
    """A data set whose parts follow each other in time: 70 % of the events for training, 15 % for validation, 15 % for
    testing. An example tells a few events that follow each other from the window of those before the first of them;
    events before which there is no whole window are not told. Training draws pairs without an event again for each
    batch, validation and test have the same ones each time.

    Raises:
        UserError: anything wrong with the events, or with what is wanted.
    """
    events = from_raw(raw)
    _, width, pairs = wanted.input_shape or (0, WINDOW, 2 * TOLD)
    width, told = options.window or width, options.told or max(1, pairs // 2)
    sizes = (events.nodes, width, 2 * told)
    if wanted.input_shape not in (None, sizes):
        raise UserError(f"'{name}' has the sizes {sizes}, not {wanted.input_shape}; leave the input away.")
    if wanted.classes not in (None, len(CLASSES)):
        raise UserError(f"a pair has an event or none, which are {len(CLASSES)} classes, not {wanted.classes}.")
    train, val = events.ends
    first = int(torch.searchsorted(events.time, events.time[min(width, len(events)) - 1].item(), side="right"))
    if first >= train:
        raise UserError(
            f"of the {len(events):,} events of '{name}' the first {train:,} are for training, and before none of them "
            f"is a window of {width:,}; give more, or say a smaller one behind their name, such as :window=32."
        )
    windows = Windows(events, width=width, batch=told)
    starts = torch.arange(first, train, told)
    every = torch.arange(len(starts))
    starts = starts[limited(every, torch.zeros_like(every), wanted.limit_train, wanted.seed, "windows")]
    return Dataset(
        name, len(CLASSES), CLASSES, sizes,
        EventsPart(windows, starts, train, wanted.augment or None),
        EventsPart(windows, torch.arange(train, val, told), val),
        EventsPart(windows, torch.arange(val, len(events), told), len(events)),
        kind="events", objective=NEXT_EVENT,
    )  # fmt: skip
