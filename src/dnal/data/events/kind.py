"""Events as a kind of data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dnal.base.errors import UserError
from dnal.data.dataset import Dataset
from dnal.data.events.events import ARRAYS, MOST_NODES, read_raw
from dnal.data.events.next_events import MOST_PREDICTED, MOST_WINDOW, EventOptions, from_events
from dnal.data.events.raw import RawEvents
from dnal.data.events.sets import read_replies
from dnal.data.events.windows import FEATURES
from dnal.data.kind import Entry, Heads, Kind, Sizes, Wanted
from dnal.data.objective import Objective

WIDE = 64
"""Features that a layer is assumed to hold of each end of an event or pair, to bound the memory of an example."""


class EventsOverTime(Kind):
    name = "events"
    one = "window"
    several = "windows"
    classified = "pairs"
    sizes = ("nodes", "events of a window", "pairs")
    usual = (1900, 256, 100)
    raw = RawEvents
    options = EventOptions
    largest = 2**24
    cost_varies = True  # with how many nodes take part in a window
    normalisation = (
        "ages from 0, the time of the first event to predict, to 1, the first event of the window; of each event "
        "log(1 + n) of how many events its source and its target had before it in the window, and of how many nodes "
        "both had met"
    )
    sets = {  # noqa: RUF012
        "replies": ("4,000 generated messages of 80 people, of which many answer or repeat a recent one", read_replies)
    }
    files = (("FILE.npz", "your own events over time: src (E,) and dst (E,), nodes counted from 0, and t (E,)"),)

    def claims(self, path: Path, heads: Heads) -> bool:
        return set(ARRAYS) <= set(heads)

    def read(self, path: Path) -> RawEvents:
        return read_raw(path)

    def dataset(self, name: str, raw: Any, wanted: Wanted, options: EventOptions) -> Dataset:
        return from_events(name, raw, wanted, options)

    def inputs(self, sizes: Sizes) -> dict[str, Entry]:
        nodes, window, pairs = sizes
        return {
            "events": Entry((window, 2), below=nodes), "ages": Entry((window,)),
            "features": Entry((window, FEATURES)), "pairs": Entry((pairs, 2), below=nodes),
        }  # fmt: skip

    def arguments(self, sizes: Sizes) -> dict[str, int]:
        return {"nodes": sizes[0], "features": FEATURES}

    def kept(self, sizes: Sizes) -> dict[str, int]:
        return {"nodes": sizes[0]}

    def answered(self, sizes: Sizes, objective: Objective) -> tuple[int, ...]:
        return (sizes[2],)

    def numbers(self, sizes: Sizes) -> int:
        _, window, pairs = sizes
        return (2 * window + pairs) * WIDE

    def check(self, sizes: Sizes) -> None:
        super().check(sizes)
        nodes, window, pairs = sizes
        if nodes > MOST_NODES:
            raise UserError(f"there are {nodes:,} nodes, more than the {MOST_NODES:,} that events may have.")
        if window > MOST_WINDOW or pairs > 2 * MOST_PREDICTED:
            raise UserError(
                f"a window has at most {MOST_WINDOW:,} events, and an example {2 * MOST_PREDICTED:,} pairs."
            )
        if pairs % 2:
            raise UserError(f"half of the pairs of an example have an event, so their number is even, not {pairs}.")
