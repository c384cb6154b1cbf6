"""Does it help a network of events to look at each node's past over patches as well as at its neighbours?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dnal.base.errors import UserError
from dnal.base.options import option
from dnal.base.statistics import paired
from dnal.data.events.events import Events, events_of, read_events
from dnal.data.events.negatives import NEGATIVES
from dnal.data.events.windows import Windows
from dnal.models.temporal.edgebank import edgebank
from dnal.models.temporal.todyformer import Todyformer
from dnal.studies.check import Check
from dnal.studies.figures import dots
from dnal.studies.links import average_precision, trained_on_links
from dnal.studies.study import Row, Setting, Size, Sizes, Source, Study

if TYPE_CHECKING:
    from dnal.report.figure import Figure

BANK, OURS = "EdgeBank", "Todyformer"
NETWORKS: dict[str, dict[str, Any]] = {
    OURS: {},
    "local only": {"whole": False},
    "global only": {"local": False},
    "graph network": {"whole": False, "patches": 1},
}
"""What differs; the graph network sees the window as a whole and has no memory."""
GENERATED = "generated"


@dataclass(frozen=True)
class PatchesSeeTheWhole(Study):
    """Attention over patches beside attention over neighbours tells better which pair has an event next.

    All networks get the same window of events strictly before each batch, learn which of two pairs has an event, and
    are measured by average precision on the last 15 % of the events, against random, historical and inductive pairs.
    EdgeBank, which says that what ever happened happens again, is the control that costs nothing.
    """

    claim = (
        "Cutting a window of events into patches bounds what a local encoder mixes, and alternating it with global "
        "attention keeps the long range: better link prediction than local message passing."
    )
    source = Source(
        "M. Biparva, R. Karimi, F. Faez, Y. Zhang, Todyformer: Towards Holistic Dynamic Graph Transformers with "
        "Structure-Aware Tokenization (2024)",
        "2402.05944",
        "Patches, alternation and tasks are verified; the encodings of events are recalled, and no sizes were read: "
        "those here are ours. There is no published code.",
    )
    needs = (
        "Events as FILE.npz with src, dst and t, such as SNAP's CollegeMsg and Bitcoin graphs: `folder=DIR` and "
        "`sets=collegemsg/bitcoin_otc`. The tiny size draws some."
    )
    differs = (
        "Width 64 with 2 blocks, 8 patches and windows of 2,048 events for 3 epochs; nodes begin as fixed random "
        "vectors, and the last layers get the product of both nodes too."
    )
    sizes = Sizes(
        tiny=Size(2, "seconds", {"sets": (GENERATED,), "width": 8, "window": 64, "batch": 100, "epochs": 1}),
        small=Size(3, "15 minutes for CollegeMsg"),
        paper=Size(5, "days", {"width": 100, "window": 65_536, "epochs": 50}),
    )
    sets: tuple[str, ...] = option(("collegemsg",), f"Names of files without their ending, or {GENERATED}.")
    folder: str = option(".", "Where the files are.")
    width: int = option(64, "Of the networks.", least=4)
    window: int = option(2048, "Events that are seen.", least=8)
    batch: int = option(200, "Events that are told at once.", least=1)
    epochs: int = option(3, "Of training.", least=1)
    lr: float = option(0.001, "Of Adam.", above=0)

    def settings(self) -> Sequence[Setting]:
        return [{"data": data, "network": network} for data in self.sets for network in (BANK, *NETWORKS)]

    def row(self, seed: int, data: str, network: str) -> dict[str, Any]:
        events = _events(self.folder, data)
        windows = Windows(events, width=self.window, batch=self.batch)
        train, _ = events.ends
        if network == BANK:
            return self._measured(windows, seed, lambda i, first: _remembered(events, windows, i, first))
        torch.manual_seed(seed)
        made = Todyformer(nodes=events.nodes, width=self.width, **NETWORKS[network])
        trained_on_links(made, windows, 0, train, epochs=self.epochs, lr=self.lr, seed=seed)
        return self._measured(windows, seed, lambda inputs, first: made(**inputs)[0].softmax(0)[1])

    def _measured(self, windows: Windows, seed: int, score: Any) -> dict[str, Any]:
        """Average precision on the test events, and on those for validation."""
        (train, val), end = windows.events.ends, len(windows.events)
        found: dict[str, float] = {
            kind: round(average_precision(score, windows, val, end, kind, seed), 4) for kind in NEGATIVES
        }
        return {**found, "validation": round(average_precision(score, windows, train, val, "random", seed), 4)}

    def checks(self, rows: Sequence[Row]) -> list[Check]:
        def of(network: str, kind: str) -> dict[Any, float]:
            own = [row for row in rows if row["network"] == network]
            return {(row["data"], row["seed"]): 100 * float(row[kind]) for row in own}

        return [
            Check(
                f"better than {network}, {kind} pairs", f"average precision, {OURS} minus {network}, points",
                paired(of(OURS, kind), of(network, kind)), above=0.0,
            )
            for kind in NEGATIVES[:2] for network in (BANK, "local only", "global only", "graph network")
        ]  # fmt: skip

    def figure(self, rows: Sequence[Row]) -> Figure:
        columns: dict[str, str] = {kind: f"{kind} pairs" for kind in NEGATIVES}
        return dots(rows, ["data", "network"], columns, what="average precision on the last 15 %")

    def imagined(self, row: Row, holds: bool) -> Row:
        noise = 0.001 * (int(row["seed"]) % 3)
        high = (row["network"] == OURS) == holds
        return row | dict.fromkeys(NEGATIVES, (0.9 if high else 0.8) + noise)


@lru_cache(maxsize=2)
def _events(folder: str, name: str) -> Events:
    if name != GENERATED:
        file = Path(folder) / f"{name}.npz"
        if not file.is_file():
            raise UserError(f"there is no file {str(file)!r}; say with folder= where the events are.")
        return read_events(file)
    draw = torch.Generator().manual_seed(0)
    source = torch.randint(30, (800,), generator=draw)
    target = torch.where(torch.rand(800, generator=draw) < 0.7, (source * 7 + 3) % 30, source.flip(0))
    return events_of(source, target, torch.arange(800))


def _remembered(events: Events, windows: Windows, inputs: dict[str, Tensor], first: int) -> Tensor:
    return edgebank(events.pairs[: windows.past(first)], inputs["pairs"][0], events.nodes)
