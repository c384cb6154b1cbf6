"""A data set from events: an example is a window of them, and the events to predict from it beside negatives."""

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

WINDOW, PREDICTED = 256, 50
MOST_WINDOW, MOST_PREDICTED = 2**16, 2**15
CLASSES = ("no event", "an event")


@dataclass(frozen=True)
class EventOptions(Options):
    """Options of data sets of events."""

    window: int | None = option(
        None, f"Events that a network sees before those that it predicts; default {WINDOW}.", least=8, most=MOST_WINDOW
    )
    predicted: int | None = option(
        None, f"Events that are predicted from one window; default {PREDICTED}.", least=1, most=MOST_PREDICTED
    )


@dataclass(frozen=True, eq=False)
class EventsPart:
    """Windows of events, each with the events to predict from it, and as many negatives: pairs without an event.

    Args:
        windows: of all events.
        starts: the first event that each example predicts, (N,).
        last: the end of the part: the number of its last event plus 1.
        augmentation: True: every batch draws other negatives; None: they are the same ones each time.
    """

    windows: Windows
    starts: Tensor
    last: int
    augmentation: bool | None = None

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def x(self) -> Mapping[str, Tensor]:
        """What the examples are made of, for the fingerprint of the data."""
        events = self.windows.events
        return {"starts": self.starts, "pairs": events.pairs[: self.last], "time": events.time[: self.last]}

    @property
    def y(self) -> Tensor:
        """1 for the pairs with an event, then 0 for the negatives, (N, 2 predicted). An example at the end of the part
        may predict fewer: its missing pairs are -100, which neither loss nor metric counts."""
        return self._targets(self.starts)

    def _targets(self, starts: Tensor) -> Tensor:
        there = torch.arange(self.windows.batch) < (self.last - starts)[:, None]
        return torch.cat([torch.where(there, label, IGNORED) for label in (1, 0)], 1)

    def batch(self, indices: Tensor, seed: int) -> dict[str, Tensor]:
        draw = torch.Generator().manual_seed(seed)
        rows = [self._row(int(self.starts[i]), draw) for i in indices.tolist()]
        found = {name: torch.cat([row[name] for row in rows]) for name in rows[0]}
        return found | {LABELS: self._targets(self.starts[indices])}

    def _row(self, start: int, draw: torch.Generator) -> dict[str, Tensor]:
        own, most = self.windows, self.windows.batch
        end = min(self.last, start + most)
        if self.augmentation is None:
            draw = torch.Generator().manual_seed(VALIDATION_SEED + start)
        pairs = torch.zeros(2 * most, 2, dtype=torch.long)
        pairs[: end - start] = own.events.pairs[start:end]
        negatives = own.negatives("random", start, end, own.past(start), draw)
        pairs[most : most + end - start] = negatives
        return {**own.window(start), "pairs": pairs[None]}


def from_events(name: str, raw: RawEvents, wanted: Wanted, options: EventOptions) -> Dataset:
    """A data set whose parts follow each other in time: 70 % of the events for training, 15 % for validation, 15 % for
    testing. An example predicts a few consecutive events from the window of those before the first of them; events
    before which there is no whole window are not predicted. Training draws new negatives for each batch, validation
    and test have the same ones each time.

    Args:
        name: of the data set. raw: its events. options: sizes of an example.
        wanted: input shape, classes, number of training windows and seed, where the user gave them.

    Raises:
        UserError: anything wrong with the events, or with what is wanted.
    """
    events = from_raw(raw)
    _, width, pairs = wanted.input_shape or (0, WINDOW, 2 * PREDICTED)
    width, predicted = options.window or width, options.predicted or max(1, pairs // 2)
    sizes = (events.nodes, width, 2 * predicted)
    if wanted.input_shape not in (None, sizes):
        raise UserError(f"'{name}' has the sizes {sizes}, not {wanted.input_shape}; leave the input away.")
    if wanted.classes not in (None, len(CLASSES)):
        raise UserError(f"a pair has an event or none, which are {len(CLASSES)} classes, not {wanted.classes}.")
    train, val = events.ends
    first = int(torch.searchsorted(events.time, events.time[min(width, len(events)) - 1].item(), side="right"))
    if first >= train:
        raise UserError(
            f"of the {len(events):,} events of '{name}' the first {train:,} are for training, and before none of them "
            f"is a window of {width:,} that is earlier; give more events, or a smaller window (:window=N)."
        )
    windows = Windows(events, width=width, batch=predicted)
    starts = torch.arange(first, train, predicted)
    every = torch.arange(len(starts))
    starts = starts[limited(every, torch.zeros_like(every), wanted.limit_train, wanted.seed, "windows")]
    return Dataset(
        name, len(CLASSES), CLASSES, sizes,
        EventsPart(windows, starts, train, wanted.augment or None),
        EventsPart(windows, torch.arange(train, val, predicted), val),
        EventsPart(windows, torch.arange(val, len(events), predicted), len(events)),
        kind="events", objective=NEXT_EVENT,
    )  # fmt: skip
