"""Does a search guided by a predictor find better cells with as many evaluations?"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dnal.base.errors import UserError
from dnal.base.options import option
from dnal.base.statistics import paired
from dnal.models.genomes.genome import Genome, Layer, Value
from dnal.predictors import PREDICTORS, cells, read_table
from dnal.predictors.boosting import Boosting
from dnal.predictors.features import Features
from dnal.predictors.predictor import Architectures
from dnal.predictors.tables import CELLS as NASBENCH201
from dnal.search.predictor_guided import PredictorGuided
from dnal.search.samplers import SAMPLERS
from dnal.search.samplers.sampler import Course, Ground
from dnal.search.spaces.space import END, START, Choose, NetworkSpace
from dnal.studies.architectures import CELLS, INVENTED
from dnal.studies.check import Check
from dnal.studies.figures import curves, number
from dnal.studies.study import Row, Setting, Size, Sizes, Source, Study

if TYPE_CHECKING:
    from dnal.data.kind import Sizes as ExampleSizes
    from dnal.report.figure import Figure

RANDOM, EVOLUTION, TPE = "random", "evolution", "tpe"
NONE, BOOSTING, RIDGE, SHUFFLED = "none", "boosting", "ridge", "boosting on shuffled values"
AFTER = (10, 20, 50, 100, 150)
EDGES = tuple(f"edge{place}" for place in range(1, 7))
STALE = 100
"""Rounds without a new cell after which a search ends."""
Key = int
"""Seed."""


@dataclass(frozen=True)
class PredictorsSaveEvaluations(Study):
    """A search in which a predictor chooses the cells to evaluate finds better ones with as many evaluations.

    Samplers of `dnal search` choose cells of NAS-Bench-201, whose accuracy is looked up: nothing is trained. With a
    predictor, which learns from the cells that were evaluated and from nothing else, a sampler proposes several cells
    for each that is evaluated. A row is a search; its numbers are how far the best cell so far is below the best of the
    table, after 10 to 150 evaluations. Controls are random search, evolution and Optuna's tree-structured Parzen
    estimator without a predictor, and the same mechanism with a predictor that learnt shuffled values.
    """

    claim = (
        "Predictors that learn from a few evaluated architectures find better architectures with the same number of "
        "evaluations: the search trains only those that are predicted to be best."
    )
    source = Source(
        "Y. Tang et al., A Semi-Supervised Assessor of Neural Architectures (CVPR 2020); Y. Yi et al., NAR-Former "
        "(CVPR 2023)",
        "2005.06821",
        "The claim is a paraphrase: both papers search with their predictors, on NAS-Bench-101 and in the space of "
        "DARTS. Their numbers are recalled, not verified, and are not compared with here.",
    )
    needs = f"An .npz with {CELLS}, as predictor-search:file=nasbench201.npz; {INVENTED}. Optuna, of the extra search."
    differs = (
        "The predictors are boosting and kernel ridge regression over the paths through a cell, not those of the "
        "papers. Test accuracy is both searched for and reported: the table has no validation accuracies."
    )
    sizes = Sizes(
        tiny=Size(2, "seconds", {"after": (5, 10), "proposals": 12, "candidates": 4, "warm_up": 5, "tpe": False}),
        small=Size(20, "10 minutes of one core"),
        paper=Size(100, "an hour of one core"),
    )
    file: str = option("", "The table of NAS-Bench-201; empty: invented values.")
    target: str = option("accuracy", "What is searched for: accuracy (CIFAR-10), accuracy:cifar100, ...")
    after: tuple[int, ...] = option(AFTER, "Evaluations after which the best one is reported.", least=2)
    proposals: int = option(80, "Cells that a sampler proposes in a round, where a predictor chooses.", least=2)
    candidates: int = option(10, "Of so many proposals one is evaluated.", least=2)
    warm_up: int = option(10, "Cells that are evaluated before the predictor chooses any.", least=2)
    tpe: bool = option(True, "Whether TPE is among the samplers, which needs Optuna.")

    def settings(self) -> Sequence[Setting]:
        alone = (RANDOM, EVOLUTION, TPE) if self.tpe else (RANDOM, EVOLUTION)
        guided = [(RANDOM, BOOSTING), (EVOLUTION, BOOSTING), (EVOLUTION, RIDGE), (EVOLUTION, SHUFFLED)]
        pairs = [*((sampler, NONE) for sampler in alone), *guided]
        return [{"sampler": sampler, "predictor": predictor} for sampler, predictor in pairs]

    def together(self, setting: Setting, seed: int) -> Hashable:
        """The table is read and encoded once for five seeds."""
        return seed // 5

    def row(self, seed: int, sampler: str, predictor: str) -> dict[str, Any]:
        known = _known(self.file, self.target)
        ground = Ground(Cells(known.operations), (), seed, known.row.__contains__)
        course = self._course(known, ground, sampler, predictor, seed)
        found = _searched(course, known, max(self.after))
        best = np.maximum.accumulate(found)
        return {
            **{f"regret_{after}": round(float(known.values.max() - best[min(after, len(best)) - 1]), 4)
               for after in self.after},
            "evaluations": len(found),
        }  # fmt: skip

    def checks(self, rows: Sequence[Row]) -> list[Check]:
        def gain(after: int, ours: tuple[str, str], theirs: tuple[str, str]) -> Any:
            return paired(self._regrets(rows, after, *theirs), self._regrets(rows, after, *ours))

        main = (EVOLUTION, BOOSTING)
        against = {
            "evolution with boosting beats chance": (main, (RANDOM, NONE)),
            "evolution with boosting beats evolution": (main, (EVOLUTION, NONE)),
            "evolution with boosting beats TPE": (main, (TPE, NONE)),
            "chance with boosting beats chance": ((RANDOM, BOOSTING), (RANDOM, NONE)),
            "what it learnt is the reason: it beats the same with shuffled values": (main, (EVOLUTION, SHUFFLED)),
        }
        return [
            Check(f"{claim}, {after} evaluations", "difference in regret, points, same seed", gain(after, *both),
                  above=0.0)
            for claim, both in against.items() if both[1][0] != TPE or self.tpe
            for after in self._checked()
        ]  # fmt: skip

    def figure(self, rows: Sequence[Row]) -> Figure:
        long = [
            {**row, "after": after, "regret": number(row, f"regret_{after}"), "search": _named(row)}
            for row in rows for after in self.after
        ]  # fmt: skip
        what = ("evaluations", "points below the best of the table")
        return curves(long, "after", "regret", ["search"], what=what, log=True)

    def imagined(self, row: Row, holds: bool) -> Row:
        first = row["predictor"] == BOOSTING
        noise = 0.001 * (int(row["seed"]) % 3) * (1 if first else -1)
        return row | {f"regret_{after}": (0.1 if first == holds else 2.0) + noise for after in self.after}

    def _checked(self) -> list[int]:
        """After how many evaluations searches are compared: in the middle, and at the end."""
        return list(dict.fromkeys((self.after[len(self.after) // 2], self.after[-1])))

    def _regrets(self, rows: Sequence[Row], after: int, sampler: str, predictor: str) -> dict[Key, float]:
        return {
            int(row["seed"]): number(row, f"regret_{after}")
            for row in rows if row["sampler"] == sampler and row["predictor"] == predictor
        }  # fmt: skip

    def _course(self, known: Known, ground: Ground, sampler: str, predictor: str, seed: int) -> Course:
        if predictor == NONE:
            return SAMPLERS.read(sampler).course(ground)
        model = Shuffled() if predictor == SHUFFLED else PREDICTORS.read(predictor)
        return PredictorGuided(
            SAMPLERS.read(f"{sampler}:round={self.proposals}").course(ground), model.set_params(seed=seed),
            known.encoded, ground.within, candidates=self.candidates, warm_up=self.warm_up,
        )  # fmt: skip


class Shuffled(Boosting):
    """Learns from the values in a random order: a control that can learn nothing of the architectures."""

    def fit(self, architectures: Architectures, values: ArrayLike, *, unlabelled: Architectures | None = None) -> Self:
        mixed = np.random.default_rng((self.seed, len(architectures))).permutation(np.asarray(values))
        return super().fit(architectures, mixed, unlabelled=unlabelled)


class Known(NamedTuple):
    """A table of cells.

    Attributes:
        row: of each cell. values: (N,) accuracies. features: (N, F), the paths through each. operations: that edges
            have.
    """

    row: Mapping[Genome, int]
    values: NDArray[np.float64]
    features: NDArray[np.float64]
    operations: tuple[int, ...]

    def encoded(self, genomes: Sequence[Genome]) -> NDArray[np.float64]:
        return self.features[[self.row[genome] for genome in genomes]]


@dataclass(frozen=True)
class Cells(NetworkSpace):
    """Cells of NAS-Bench-201 as lists of layers: each edge is one, whose kind is its place and whose value is its
    operation."""

    family: ClassVar[str] = "nasbench201"
    spatial: ClassVar[tuple[str, ...]] = EDGES
    pooling: ClassVar[tuple[str, ...]] = ()

    operations: tuple[int, ...] = option((0, 1, 2, 3, 4), "That edges have.", least=0)

    def values(self, kind: str) -> Mapping[str, Sequence[Value]]:
        return {"operation": self.operations}

    def transitions(self, kind: str) -> Mapping[str, float]:
        return {(*EDGES, END)[0 if kind == START else EDGES.index(kind) + 1]: 1.0}

    def most_pools(self, sizes: ExampleSizes) -> int:
        return 0

    def drawn(self, choose: Choose, sizes: ExampleSizes) -> Genome:
        return tuple(self.layer(edge, choose, edge) for edge in EDGES)

    def mended(self, layers: Sequence[Layer], most_pools: int) -> Genome:
        """The first layer of each edge; () where an edge has none, which is no cell."""
        first = {layer.kind: layer for layer in reversed(layers)}
        return tuple(first[edge] for edge in EDGES) if len(first) == len(EDGES) else ()


@lru_cache(maxsize=1)
def _known(file: str, target: str) -> Known:
    if file:
        table = read_table(Path(file))
        if table.name != NASBENCH201:
            raise UserError(f"'{file}' is the table '{table.name}', and this study searches cells of NAS-Bench-201.")
        graphs: Any = table.architectures  # graphs, as those of this table are
        values = table.target(target)
        edges = np.stack([graph.operations[1:-1] - 2 for graph in graphs])
    else:
        edges = np.array([*product((1, 2, 3), repeat=len(EDGES))])
        graphs, worth = cells(edges), np.array([0.0, 1.0, 2.0, 3.0, 0.5])[edges]
        values = 60 + 30 * np.tanh((worth.sum(1) + worth[:, 1] * worth[:, -1]) / 20)
    genomes = [
        tuple(Layer(*one) for one in zip(EDGES, ((value,) for value in row), strict=True)) for row in edges.tolist()
    ]
    return Known(
        {genome: row for row, genome in enumerate(genomes) if math.isfinite(values[row])},
        np.nan_to_num(values, nan=-math.inf), Features.of(graphs, "paths")(graphs), tuple(np.unique(edges).tolist()),
    )  # fmt: skip


def _searched(course: Course, known: Known, evaluations: int) -> list[float]:
    """The values of the cells that are evaluated, each once, in the order in which they were asked for."""
    found: dict[Genome, float] = {}
    stale = 0
    while len(found) < evaluations and stale < STALE:
        round = course.ask()
        new = [genome for genome in dict.fromkeys(round) if genome not in found]
        stale = 0 if new else stale + 1
        found |= {genome: float(known.values[known.row[genome]]) for genome in new}
        course.tell([(genome, found[genome]) for genome in round])
    return [*found.values()][:evaluations]


def _named(row: Row) -> str:
    return str(row["sampler"]) if row["predictor"] == NONE else f"{row['sampler']} with {row['predictor']}"
