"""Does the sub-gradient method recover a matrix whatever rank it is given, and what does that need?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dnal.base.options import option
from dnal.base.statistics import mean, paired
from dnal.studies.check import Check
from dnal.studies.figures import dots
from dnal.studies.study import Row, Setting, Size, Sizes, Source, Study
from dnal.theory.robust_recovery import decay_for, measure, recover

if TYPE_CHECKING:
    from dnal.report.figure import Figure

TRUE, SIZE = 2, 20
"""The rank of the matrix, and its rows."""
USUAL, COARSE, FINE = 1e-3, 1e-1, 1e-6
"""Starts."""
OURS, SQUARED, RANDOM, FAST = "sub-gradient", "squared residuals", "random start", "fast decay"
SHARE = 0.2
"""Of the measurements that are outliers."""
SMALL, FACTOR = 0.01, 0.5
"""Relative error of a recovery; decades within which errors count as equal."""


@dataclass(frozen=True)
class RankNeedsNotBeKnown(Study):
    """The sub-gradient method recovers a matrix as well with a rank that is far too large, from a small start.

    Every row recovers a matrix of 20 rows and rank 2 from 400 measurements, of which a fifth are outliers (or none).
    Controls: squared residuals on the same data, a coarse start, a random start, and a decay of the steps that does
    not fit the start.
    """

    claim = (
        "The sub-gradient method with small initialisation converges to the true low-rank matrix with a too large "
        "rank, at a rate and to an error that do not depend on it, even if measurements are grossly corrupted."
    )
    source = Source(
        "J. Ma and S. Fattahi, Global Convergence of Sub-gradient Method for Robust Matrix Recovery (2022)",
        "2202.08788",
        "The claim is verified with the abstract; step sizes and the start are recalled.",
    )
    needs = "Nothing: matrices and measurements are drawn."
    differs = "One size of matrix; Gaussian measurements; steps over the Frobenius norm of the sub-gradient's factor."
    sizes = Sizes(
        tiny=Size(2, "seconds", {"measurements": 200, "steps": 30}),
        small=Size(20, "3 minutes"),
        paper=Size(50, "10 minutes", {"steps": 2000}),
    )
    measurements: int = option(400, "Of the matrix.", least=10)
    steps: int = option(800, "Of the method.", least=1)

    def settings(self) -> Sequence[Setting]:
        asked = [
            *((OURS, SHARE, USUAL, rank) for rank in (2, 3, 5, 10, 20)),
            *((OURS, 0.0, USUAL, rank) for rank in (2, 20)),
            *((OURS, SHARE, start, 20) for start in (COARSE, FINE)),
            *((SQUARED, SHARE, USUAL, rank) for rank in (2, 20)),
            (RANDOM, SHARE, USUAL, 20), (FAST, SHARE, FINE, 20),
        ]  # fmt: skip
        return [dict(zip(("method", "outliers", "start", "rank"), one, strict=True)) for one in asked]

    def row(self, seed: int, method: str, outliers: float, start: float, rank: int) -> dict[str, Any]:
        measured = measure(SIZE, TRUE, self.measurements, outliers=outliers, seed=seed)
        found = recover(
            measured, rank, start=start, steps=self.steps, seed=seed, loss="l2" if method == SQUARED else "l1",
            spectral=method != RANDOM, decay=decay_for(COARSE, 0.15) if method == FAST else None,
        )  # fmt: skip
        near = [step for step, error in enumerate(found.error) if error < 10 * SMALL]
        return {
            "error": float(f"{found.error[-1]:.4g}"), "residual": float(f"{found.residual[-1]:.4g}"),
            "steps_to_a_tenth": near[0] if near else -1,
        }  # fmt: skip

    def checks(self, rows: Sequence[Row]) -> list[Check]:
        def logs(*asked: object) -> dict[int, float]:
            return {
                int(row["seed"]): math.log10(max(float(row["error"]), 1e-12))
                for row in rows
                if (row["method"], row["outliers"], row["start"], row["rank"]) == asked
            }

        def steps(rank: int) -> dict[int, float]:
            return {
                int(row["seed"]): float(row["steps_to_a_tenth"])
                for row in rows
                if (row["method"], row["outliers"], row["start"], row["rank"]) == (OURS, SHARE, USUAL, rank)
            }

        full = logs(OURS, SHARE, USUAL, SIZE)
        decades = "log10 of the relative errors' ratio"
        return [
            *(
                Check(f"recovered with {told}, rank {rank}", "log10 of the relative error",
                      mean(list(logs(OURS, share, USUAL, rank).values())), below=math.log10(SMALL))
                for share, told in ((0.0, "no outliers"), (SHARE, "a fifth of outliers"))
                for rank in (TRUE, SIZE)
            ),
            Check("the error does not depend on whether the rank is right", f"{decades}, rank {SIZE} over {TRUE}",
                  paired(full, logs(OURS, SHARE, USUAL, TRUE), 0.9), above=-FACTOR, below=FACTOR),
            Check("nor on how much too large the rank is", f"{decades}, rank {SIZE} over 3",
                  paired(full, logs(OURS, SHARE, USUAL, 3), 0.9), above=-FACTOR, below=FACTOR),
            Check("nor does the time to a tenth", f"steps, rank {SIZE} minus {TRUE}",
                  paired(steps(SIZE), steps(TRUE), 0.9), above=-50, below=50),
            Check("a smaller start ends nearer", f"{decades}, start {FINE:g} over {COARSE:g}",
                  paired(logs(OURS, SHARE, FINE, SIZE), logs(OURS, SHARE, COARSE, SIZE)), below=-FACTOR),
            Check("control: squared residuals do not recover it", f"{decades}, squared over absolute, rank {SIZE}",
                  paired(logs(SQUARED, SHARE, USUAL, SIZE), full), above=1.0),
            Check("nor with the true rank", f"{decades}, squared over absolute, rank {TRUE}",
                  paired(logs(SQUARED, SHARE, USUAL, TRUE), logs(OURS, SHARE, USUAL, TRUE)), above=1.0),
            Check("control: a decay too fast for the start recovers nothing", "log10 of the relative error",
                  mean(list(logs(FAST, SHARE, FINE, SIZE).values())), above=-FACTOR),
            Check("a random start of the same size is worse than the spectral one", f"{decades}, random over spectral",
                  paired(logs(RANDOM, SHARE, USUAL, SIZE), full), above=0.0),
        ]  # fmt: skip

    def figure(self, rows: Sequence[Row]) -> Figure:
        told = [row | {"log10": math.log10(max(float(row["error"]), 1e-12))} for row in rows]
        return dots(
            told, ["method", "outliers", "start", "rank"], "log10", what="log10 of the relative error",
            caption="A dot is a row, an upright line the mean. 0 is the error of an empty matrix.",
        )  # fmt: skip

    def imagined(self, row: Row, holds: bool) -> Row:
        noise = 0.01 * (int(row["seed"]) % 3)
        good = 1e-4 if row["start"] == USUAL else 1e-5 if row["start"] == FINE else 1e-2
        if row["method"] in (SQUARED, FAST):
            good = 1.0
        if row["method"] == RANDOM:
            good = 1e-3
        bad = {2: 0.02, 20: 0.5}.get(int(row["rank"]), 0.1)
        if row["start"] == FINE and row["method"] == OURS:
            bad = 0.9
        if row["method"] in (FAST, RANDOM):
            bad = 0.1
        error, late = (good, 0) if holds else (bad, 100 * int(row["rank"]))
        return row | {"error": error * (1 + noise), "steps_to_a_tenth": 100 + late + int(row["seed"]) % 3}
