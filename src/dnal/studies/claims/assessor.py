"""Do architectures without labels help to rank architectures?"""

from __future__ import annotations

import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dnal.base.errors import UserError
from dnal.base.options import option
from dnal.base.statistics import paired
from dnal.predictors import PREDICTORS
from dnal.predictors.correlation import tau
from dnal.studies.architectures import CELLS, CHAINS, INVENTED, fitted, known
from dnal.studies.check import Check
from dnal.studies.figures import curves
from dnal.studies.study import Row, Setting, Size, Sizes, Source, Study

if TYPE_CHECKING:
    from dnal.report.figure import Figure

LABELS = (20, 50, 100)
SUPERVISED, REBUILDING, WHOLE = "labels alone", "auto-encoder", "auto-encoder and graph"
FORMS = {
    SUPERVISED: "assessor:graph=false,share=0",
    REBUILDING: "assessor:graph=false",
    WHOLE: "assessor",
}
CONTROLS = {"ridge": "ridge", "boosting": "boosting"}
ENCODED = {"written out": "flat", "paths": "paths"}
TABLES = ("cells", "chains")


@dataclass(frozen=True)
class UnlabelledArchitecturesHelp(Study):
    """With few labels, architectures without labels help to rank: by rebuilding them, and by a graph among them.

    Kendall's tau on everything that is not labelled, with 20 to 100 labels, of the same network with and without the
    auto-encoder, with and without the graph, over architectures written out (as published) and over counts of their
    paths. The whole table may be looked at, except for its values. The bandwidth of the graph is chosen by a fifth of
    the labels. Ridge and boosting, which look at labelled architectures alone, are the controls.
    """

    claim = (
        "An assessor that rebuilds all architectures by an auto-encoder and spreads the few labels along a graph of "
        "similar ones predicts performance better than predictors of labelled architectures alone."
    )
    source = Source(
        "Y. Tang, Y. Wang, Y. Xu, H. Chen, B. Shi, C. Xu, C. Xu, Q. Tian and C. Xu, A Semi-Supervised Assessor of "
        "Neural Architectures (CVPR 2020)",
        "2005.06821",
        "The idea is verified with the abstract; layers, losses and the graph are recalled, and no code is public.",
    )
    needs = f"Two .npz: {CELLS}, as assessor:cells=FILE; {CHAINS}, as chains=FILE; {INVENTED}."
    differs = (
        "NAS-Bench-201 and NAS-Bench-Macro instead of NAS-Bench-101, 20 to 100 labels instead of 1,000 and more; "
        "labels are learnt as ranks; what is predicted joins the graph one by one."
    )
    sizes = Sizes(
        tiny=Size(2, "seconds", {"labels": (12,), "epochs": 2, "others": 20}),
        small=Size(5, "an hour on a core", {}),
        paper=Size(10, "hours", {"labels": (20, 50, 100, 1000), "others": 1000, "epochs": 500}),
    )
    cells: str = option("", "The table of NAS-Bench-201; empty: invented values.")
    chains: str = option("", "The table of NAS-Bench-Macro; empty: invented values.")
    labels: tuple[int, ...] = option(LABELS, "How many architectures are labelled.", least=10)
    epochs: int = option(200, "Of training.", least=1)
    others: int = option(300, "Architectures without label in a step.", least=1)

    def settings(self) -> Sequence[Setting]:
        return [
            {"table": table, "model": model, "encoding": encoding, "labels": number}
            for table in TABLES for number in self.labels for encoding in ENCODED for model in (*FORMS, *CONTROLS)
        ]  # fmt: skip

    def together(self, setting: Setting, seed: int) -> Hashable:
        return seed

    def row(self, seed: int, table: str, model: str, encoding: str, labels: int) -> dict[str, Any]:
        if bool(self.cells) != bool(self.chains):
            raise UserError("give both tables, cells=FILE and chains=FILE, or none.")
        found = known(self.cells if table == "cells" else self.chains, table)
        order = np.random.default_rng(seed).permutation(len(found))
        text = {**FORMS, **CONTROLS}[model]
        predictor = PREDICTORS.read(text).set_params(encoding=ENCODED[encoding], seed=seed)
        if model in FORMS:
            predictor.set_params(epochs=self.epochs, others=self.others)
        begun = time.process_time()
        said, true = fitted(predictor, found, "accuracy", order[:labels], order[labels:])
        chosen = getattr(predictor, "bandwidth_", "") if model == WHOLE else ""
        return {"tau": round(tau(said, true), 5), "bandwidth": chosen,
                "cpu_seconds": round(time.process_time() - begun, 1)}  # fmt: skip

    def checks(self, rows: Sequence[Row]) -> list[Check]:
        def of(model: str, encoding: str) -> dict[tuple[Any, ...], float]:
            return {
                (row["table"], row["labels"], row["seed"]): float(row["tau"])
                for row in rows
                if row["model"] == model and row["encoding"] == encoding
            }

        gap = "tau, difference of table, labels and seed"
        return [
            Check(f"{claim}, {encoding}", gap, paired(of(one, encoding), of(other, encoding)), above=0.0)
            for encoding in ENCODED
            for claim, one, other in (
                ("rebuilding all helps", REBUILDING, SUPERVISED), ("the graph helps", WHOLE, REBUILDING),
                ("better than ridge", WHOLE, "ridge"),
            )
        ]  # fmt: skip

    def figure(self, rows: Sequence[Row]) -> Figure:
        what = ("labels", "Kendall's tau on what is not labelled")
        return curves(rows, "labels", "tau", ["table", "model", "encoding"], what=what, log=True)

    def imagined(self, row: Row, holds: bool) -> Row:
        noise = 0.001 * (int(row["seed"]) % 3)
        place = {SUPERVISED: 0, REBUILDING: 1, WHOLE: 2}.get(str(row["model"]), 0)
        return row | {"tau": 0.5 + (0.1 + noise) * (place if holds else -place)}
