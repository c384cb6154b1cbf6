"""A study without a network: a coin that falls on one side more often, and what can go wrong with it."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dnal.base.errors import UserError
from dnal.base.options import option
from dnal.base.statistics import mean
from dnal.report.figure import Figure
from dnal.studies import Check, Size, Sizes, Source, Study
from dnal.studies.figures import dots
from dnal.studies.study import Row, Setting


@dataclass(frozen=True)
class Coin(Study):
    """A coin falls on the side that is asked for."""

    claim = "Coins are fair."
    source = Source("Nobody", "", "Made for tests.")
    needs = "Nothing."
    differs = "Everything."
    sizes = Sizes(Size(4, "no time", {"throws": 20}), Size(6, "no time"), Size(9, "no time"))
    throws: int = option(50, "Of each row.", least=1)
    log: str = option("", "A file to which each row adds its name.")
    trouble: str = option("none", "What the last row does.", known=("none", "refuse", "fail", "kill", "tensor", "seed"))
    shared: bool = option(False, "All rows in one process.")

    def settings(self) -> Sequence[Setting]:
        return [{"side": "heads"}, {"side": "tails"}]

    def together(self, setting: Setting, seed: int) -> Hashable:
        return 0 if self.shared else super().together(setting, seed)

    def row(self, seed: int, side: str) -> dict[str, Any]:
        if self.log:
            with Path(self.log).open("a") as file:
                file.write(f"{side} {seed}\n")
        if (seed, side) == (3, "tails"):
            if self.trouble == "refuse":
                raise UserError("this coin stands on its edge.")
            if self.trouble == "fail":
                raise KeyError("edge")
            if self.trouble in ("tensor", "seed"):
                return {"share": np.ones(2)} if self.trouble == "tensor" else {"seed": 7}
            if self.trouble == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
        drawn = random.Random(f"{seed} {side}")
        return {"share": sum(drawn.random() < 0.7 for _ in range(self.throws)) / self.throws, "note": "=1+1"}

    def checks(self, rows: Sequence[Row]) -> list[Check]:
        shares = [float(row["share"]) for row in rows]
        return [Check("more than half", "share", mean(shares), above=0.5)]

    def figure(self, rows: Sequence[Row]) -> Figure:
        return dots(rows, ["side"], "share", what="share")

    def imagined(self, row: Row, holds: bool) -> Row:
        return row | {"share": (0.7 if holds else 0.3) + 0.01 * (int(row["seed"]) % 2)}
