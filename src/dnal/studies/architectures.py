"""Tables of architectures for studies, and one with invented values where none is given."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from dnal.predictors.predictor import Predictor, subset
from dnal.predictors.tables import CELL_EDGES, Table, cells, chains, read_table

CELLS = (
    "edges (15625, 6), accuracy (15625, 3), latency_ms (15625, 27) and devices of NAS-Bench-201 (accuracies: the "
    "repository v-tao/nats-bench-landscape or NATS-Bench itself; latencies: HayeonLee/HELP)"
)
CHAINS = "arch (6561, 8) and accuracy (6561, 3) of NAS-Bench-Macro (the repository xiusu/NAS-Bench-Macro)"
INVENTED = "without files, tables with invented values, which show that the study runs and nothing else"
DEVICES = ("1080ti_1", "pixel3", "raspi4", "fpga", "eyeriss")
"""One from which predictors are transferred, and four to which."""
MADE = 300
"""Rows of an invented table."""


@lru_cache(maxsize=2)
def known(file: str, form: str = "cells") -> Table:
    """The table in a file; "" is one of "cells" or "chains" with invented values."""
    return read_table(Path(file)) if file else invented(form)


def invented(form: str) -> Table:
    """Architectures with values that nobody measured."""
    rng = np.random.default_rng(0)
    choices = rng.integers(5, size=(MADE, len(CELL_EDGES))) if form == "cells" else rng.integers(3, size=(MADE, 8))
    worth = np.array([0.0, 1.0, 2.0, 3.0, 0.5])[choices]
    score = worth.sum(1) + worth[:, 1] * worth[:, -1] + rng.normal(0, 0.5, MADE)
    targets = {"accuracy": 60 + 30 * np.tanh(score / 10)}
    for place, device in enumerate(DEVICES):
        targets[f"latency:{device}"] = 1 + score + 0.3 * place * worth[:, 2] + rng.normal(0, 0.1, MADE)
    architectures = cells(choices) if form == "cells" else chains(choices)
    return Table("invented", architectures, ["-".join(map(str, row)) for row in choices.tolist()], targets)


def fitted(
    predictor: Predictor, table: Table, target: str, own: np.ndarray[Any, Any], rest: np.ndarray[Any, Any]
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """What a predictor that learns from the rows ``own`` says of the rows ``rest``, and what is true of them."""
    values = table.target(target)
    aside = subset(table.architectures, rest)
    predictor.fit(subset(table.architectures, own), values[own], unlabelled=aside)
    return predictor.predict(aside), values[rest]
