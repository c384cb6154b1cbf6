"""How many tasks does it take to choose one hyperparameter for all of them?"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from dnal import data
from dnal.base.errors import UserError
from dnal.base.options import option
from dnal.base.statistics import mean, paired
from dnal.data.npz import read_arrays
from dnal.studies.check import Check
from dnal.studies.figures import curves
from dnal.studies.study import Row, Setting, Size, Sizes, Source, Study
from dnal.theory.tuning import Array, choose, oscillations, trace_duals, uniform_gap

if TYPE_CHECKING:
    from dnal.report.figure import Figure

MIXED, ALONE = "tanh to relu", "relu alone"
SHIPPED = ("diabetes", "wine", "breast-cancer", "iris")
"""Tables that scikit-learn brings."""
ROWS, FEATURES = 40, 4
"""Of a task."""
CHUNK, GROUPS = 50, 5
"""Tasks that are trained in one batch; parts of the tasks, each of which makes a value of its own for the intervals."""


@dataclass(frozen=True)
class TasksChooseAHyperparameter(Study):
    """The mean over tasks is near at every value of a hyperparameter at once, and the nearer the more tasks there are.

    A task is 40 rows and 4 columns of a table; a network of 6 units learns it at every mixture of tanh and relu. What
    counts is the fit of the task itself, as in the theory, not of other rows. Tasks are compared in groups; the gap is
    the largest difference, over mixtures, of the means over m of them and over all other tasks. The control for the
    oscillations is relu alone, with another start at each place of the grid: all that oscillates there is the training.
    """

    claim = (
        "Performance as a function of a hyperparameter is volatile where a network is trained for each value, and yet "
        "a number of tasks that grows with the logarithm of its oscillations suffices to choose one value for all."
    )
    source = Source(
        "M.-F. Balcan, A. T. Nguyen and D. Sharma, Sample complexity of data-driven tuning of model hyperparameters in "
        "neural networks with structured parameter-dependent dual function (NeurIPS 2025)",
        "2501.13734",
        "The claim is verified with the abstract; bounds are recalled, and their constants not specified.",
    )
    needs = (
        "A folder of .npz tables with x and y (tuning:folder=uci); without one, the tables that scikit-learn brings."
    )
    differs = (
        "The paper has no experiment of note. Training is not the maximum over weights: two starts, and the "
        "neighbours' weights, stand for it."
    )
    sizes = Sizes(
        tiny=Size(40, "seconds", {"places": 4, "steps": 10}),
        small=Size(200, "3 minutes"),
        paper=Size(1000, "an hour", {"places": 65, "steps": 1000}),
    )
    folder: str = option("", "Of .npz tables with x (N, F) and y (N,); empty: those of scikit-learn.")
    places: int = option(11, "Of the grid of mixtures.", least=2)
    steps: int = option(200, "Of training.", least=1)

    def settings(self) -> Sequence[Setting]:
        return [{"activation": name} for name in (MIXED, ALONE)]

    def rows(self, seeds: int) -> list[tuple[Setting, int]]:
        return [(setting, seed) for setting in self.settings() for seed in range(seeds)]

    def together(self, setting: Setting, seed: int) -> Hashable:
        return (setting["activation"], seed // CHUNK)

    def row(self, seed: int, activation: str) -> dict[str, Any]:
        table, curve = _chunk(self, activation, seed // CHUNK)[seed % CHUNK]
        found = oscillations(curve)
        at = {f"at_{place}": float(f"{value:.5g}") for place, value in enumerate(curve)}
        return {"table": table, "jumps": found.jumps, "turns": found.turns, **at}

    def checks(self, rows: Sequence[Row]) -> list[Check]:
        def turns(name: str) -> dict[int, float]:
            return {int(row["seed"]): float(row["turns"]) for row in rows if row["activation"] == name}

        mixed = [row for row in rows if row["activation"] == MIXED]
        groups = [[row for row in mixed if int(row["seed"]) % GROUPS == group] for group in range(GROUPS)]
        whole = [np.array([self._curve(row) for row in group]) for group in groups if len(group) > 1]
        ordered = [
            _slope(group, np.concatenate([other for other in whole if other is not group]))
            for group in whole
            if len(group) > 3
        ]
        chosen = [_excess(group) for group in whole if len(group) > 3]
        own = [float(group.max(1).mean() - choose(group).mean) for group in whole]
        return [
            Check("the curves turn", "turns of a task's curve", mean(list(turns(MIXED).values())), above=1.0),
            Check("more than training alone makes them", "turns, mixtures minus relu alone with other starts",
                  paired(turns(MIXED), turns(ALONE)), above=0.0),
            Check("the gap falls as one over the root of the tasks", "slope of log gap over log tasks",
                  mean(ordered, 0.9), above=-0.65, below=-0.35),
            Check("what a few tasks choose is better than a random value", "performance on the other tasks",
                  mean(chosen), above=0.0),
            Check("a value for each task would be better still", "performance, own minus common choice", mean(own),
            above=0.0),
        ]  # fmt: skip

    def figure(self, rows: Sequence[Row]) -> Figure:
        told = [
            {"what": str(row["table"]), "alpha": place / (_places(row) - 1), "at": value, "seed": row["seed"]}
            for row in rows
            if row["activation"] == MIXED and int(row["seed"]) < 40
            for place, value in enumerate(self._curve(row))
        ]
        return curves(told, "alpha", "at", ["what"], what=("share of relu", "performance, 1 minus the squared error"))

    def imagined(self, row: Row, holds: bool) -> Row:
        place = int(row["seed"]) // GROUPS % 8
        noise = 0.01 * (int(row["seed"]) % 3)
        values = np.full(_places(row), 0.5)
        if holds:  # a quarter of the tasks wants the other end
            rising = np.linspace(0.3, 0.6, _places(row))
            values = (rising[::-1] if place % 4 == 3 else rising) + 0.1 * (place - 3.5) / 3.5
        turns = (5 if (row["activation"] == MIXED) == holds else 0) + noise
        return row | {"turns": turns} | {f"at_{place}": float(value) for place, value in enumerate(values)}

    def _curve(self, row: Row) -> list[float]:
        return [float(row[f"at_{place}"]) for place in range(_places(row))]


def _places(row: Row) -> int:
    return sum(name.startswith("at_") for name in row)


def _slope(performance: Array, others: Array) -> float:
    """Of log gap over log tasks, up to a fifth of them."""
    numbers = [number for number in (1, 2, 4, 8, 16) if number <= max(2, len(performance) // 5)]
    gaps = [max(uniform_gap(performance, number, others=others), 1e-12) for number in numbers]
    return float(np.polyfit(np.log(numbers), np.log(gaps), 1)[0])


def _excess(performance: Array) -> float:
    """What a fifth of the tasks choose, over the mean of all values, on the others; the mean of 100 draws."""
    rng = np.random.default_rng(0)
    number, found = max(1, len(performance) // 5), []
    for _ in range(100):
        order = rng.permutation(len(performance))
        place = choose(performance[order[:number]]).place
        rest = performance[order[number:]].mean(0)
        found.append(rest[place] - rest.mean())
    return float(np.mean(found))


@lru_cache(maxsize=1)
def _chunk(study: TasksChooseAHyperparameter, activation: str, chunk: int) -> list[tuple[str, NDArray[np.float64]]]:
    """The tasks of a chunk, trained in one batch: the table of each, and its curve."""
    tables = _tables(study.folder)
    names, drawn = [], []
    for seed in range(chunk * CHUNK, (chunk + 1) * CHUNK):
        rng = np.random.default_rng(seed)
        name = sorted(tables)[seed % len(tables)]
        x, y = tables[name]
        rows, columns = rng.choice(len(x), ROWS, replace=False), rng.choice(x.shape[1], FEATURES, replace=False)
        own = np.column_stack([x[np.ix_(rows, columns)], y[rows]])
        spread = own.std(0)
        drawn.append((own - own.mean(0)) / np.where(spread > 0, spread, 1.0))
        names.append(name)
    tasks = torch.tensor(np.array(drawn), dtype=torch.float32)
    alphas = np.linspace(0, 1, study.places).tolist()
    second = torch.tanh if activation == MIXED else torch.relu
    found = trace_duals(
        tasks[..., :-1], tasks[..., -1], alphas, steps=study.steps, second=second, shared=activation == MIXED,
        seed=chunk,
    )  # fmt: skip
    return list(zip(names, found, strict=True))


@lru_cache(maxsize=1)
def _tables(folder: str) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Tables as numbers: x (N, F), at least 4 columns that vary, and y (N,)."""
    if not folder:
        found = {}
        for name in SHIPPED:
            x, y = (part.double().numpy() for part in _whole(name))
            found[name] = (x, y.astype(np.float64).reshape(len(y)))
        return found
    paths = sorted(Path(folder).glob("*.npz"))
    if not paths:
        raise UserError(f"there is no .npz table in '{folder}'; give a folder of those with x and y, or none.")
    arrays = {path.stem: read_arrays(path, ("x", "y")) for path in paths}
    return {
        name: (own["x"].astype(np.float64), own["y"].astype(np.float64).reshape(len(own["y"])))
        for name, own in arrays.items()
    }


def _whole(name: str) -> tuple[torch.Tensor, torch.Tensor]:
    part = data.load(name, kind="tables").train
    x, y = part.batch(torch.arange(len(part)), 0)
    return x, y
