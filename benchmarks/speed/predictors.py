"""What does it cost to encode and predict all 15,625 cells of NAS-Bench-201?

Each predictor learns from 781 drawn cells, whose values are invented: the time does not depend on them. In turn:
seconds of learning (of 21 steps of NAR-Former and 20 of the assessor, since their number is a choice), of making all
cells graphs, and of predicting all of them, encoding included. Seconds of wall clock and of CPU in one process. The row
"nar-former, published" has the published size, and learns for one step.

OMP_NUM_THREADS=1 PYTHONPATH=src:benchmarks python benchmarks/speed/predictors.py
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from dnal.predictors import PREDICTORS, cells
from paired import machine
from result_file import append_rows

T = TypeVar("T")
FIELDS = (
    "predictor", "learn_seconds", "learn_cpu", "graphs_seconds", "predict_seconds", "predict_cpu", "machine",
)  # fmt: skip
LABELS = 781
MODELS = {
    "boosting": "boosting", "ridge": "ridge", "gaussian-process": "gaussian-process", "mlp": "mlp",
    "assessor": "assessor:bandwidth=0.02,epochs=20", "nar-former": "nar-former:epochs=3",
    "nar-former, published": "nar-former:width=192,heads=6,depth=6,hidden=768,prune=false,epochs=1,batch=1000",
}  # fmt: skip


def timed(function: Callable[[], T]) -> tuple[T, float, float]:
    """What it returns, and seconds of wall clock and of CPU."""
    wall, cpu = time.perf_counter(), time.process_time()
    found = function()
    return found, round(time.perf_counter() - wall, 2), round(time.process_time() - cpu, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".csv"))
    parser.add_argument("--only", nargs="+", default=list(MODELS), choices=list(MODELS))
    options = parser.parse_args()
    edges = np.array(list(itertools.product(range(5), repeat=6)))
    values = np.array([0.0, 1.0, 2.0, 3.0, 0.5])[edges].sum(1)
    drawn = np.random.default_rng(0).permutation(len(edges))[:LABELS]
    for name in options.only:
        graphs, made, _ = timed(partial(cells, edges))
        learnt = [graphs[row] for row in drawn]
        rest = [graphs[row] for row in range(0, len(graphs), 20)]
        model = PREDICTORS.read(MODELS[name])
        _, learn, learn_cpu = timed(partial(model.fit, learnt, values[drawn], unlabelled=rest))
        said, predict, predict_cpu = timed(partial(model.predict, graphs))
        assert len(said) == len(edges)
        row = {
            "predictor": name, "learn_seconds": learn, "learn_cpu": learn_cpu, "graphs_seconds": made,
            "predict_seconds": predict, "predict_cpu": predict_cpu, "machine": machine(),
        }  # fmt: skip
        append_rows(options.out, FIELDS, [row])
        print(row, flush=True)


if __name__ == "__main__":
    main()
