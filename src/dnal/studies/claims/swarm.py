"""Do swarms and ants find better networks than chance does, with as many networks trained alike?"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dnal.base.errors import UserError
from dnal.base.options import option
from dnal.base.statistics import Interval, mean, paired
from dnal.search import search
from dnal.studies.check import Check
from dnal.studies.figures import dots, number
from dnal.studies.study import Row, Setting, Size, Sizes, Source, Study

if TYPE_CHECKING:
    from dnal.report.figure import Figure

EASY, HARD = "Fashion-MNIST", "CIFAR-10"
PSO, ACO, TPE, RANDOM = "pso", "aco", "tpe", "random"
Key = tuple[str, int]
"""Data and seed."""


@dataclass(frozen=True)
class SwarmsBeatChance(Study):
    """A particle swarm finds better networks than an ant colony, more so on harder data, and both better than chance.

    All samplers search psoCNN's space of layers under one budget, and train as many different networks for as many
    epochs, from the same start and on the same batches; networks are compared by validation data. The best one of each
    search is trained again for longer, and its test accuracy is the row. Random search in the same space, and Optuna's
    tree-structured Parzen estimator over the same choices, are the controls.
    """

    claim = (
        "Particle swarm optimisation finds better networks than ant colony optimisation, most notably on the more "
        "complex data set."
    )
    source = Source(
        "S. Lankford and D. Grimes, Neural Architecture Search using Particle Swarm and Ant Colony Optimization "
        "(AICS 2020)",
        "2403.03781",
        "The claim is a paraphrase of the abstract; the algorithms follow the published code of psoCNN and DeepSwarm; "
        "the paper's table of results was not seen.",
    )
    needs = (
        "Fashion-MNIST and CIFAR-10, by `dnal data` or as files (swarm:easy=fashion-mnist.npz,hard=cifar10.npz); the "
        "tiny size takes scikit-learn's digits for both. Optuna, of the extra search."
    )
    differs = (
        "All search one space and train alike, where the paper gives each its own space and training (1 epoch "
        "against 15 to 30); small images and networks; validation instead of training accuracy; random search and TPE "
        "as controls."
    )
    sizes = Sizes(
        tiny=Size(2, "seconds", {"easy": "digits", "hard": "digits", "images": 60, "side": 8, "evaluations": 3,
                                 "epochs": 1, "final_epochs": 1, "channels": 4, "tpe": False}),
        small=Size(4, "25 minutes of one core"),
        paper=Size(10, "days", {"images": 45_000, "side": 32, "evaluations": 200, "channels": 256,
                                "final_epochs": 100, "budget": "params<=5M"}),
    )  # fmt: skip
    easy: str = option("fashion-mnist", "The easier data: a name of `dnal data`, or a file.")
    hard: str = option("cifar10", "The harder data: a name of `dnal data`, or a file.")
    images: int = option(2000, "For training.", least=20)
    side: int = option(14, "Height and width of the images.", least=8)
    channels: int = option(24, "Of a convolution, at most.", least=3)
    budget: str = option("params<=100k macs<=2M", "What a network may cost; bounds with a space between them.")
    evaluations: int = option(24, "Networks that each search trains.", least=1)
    epochs: int = option(1, "For which each is trained.", least=1)
    final_epochs: int = option(8, "For which the best one is trained again.", least=1)
    tpe: bool = option(True, "Whether TPE is among the samplers, which needs Optuna.")

    def settings(self) -> Sequence[Setting]:
        samplers = (PSO, ACO, TPE, RANDOM) if self.tpe else (PSO, ACO, RANDOM)
        return [{"data": data, "sampler": sampler} for data in (EASY, HARD) for sampler in samplers]

    def together(self, setting: Setting, seed: int) -> Hashable:
        return setting["data"], seed

    def row(self, seed: int, data: str, sampler: str) -> dict[str, Any]:
        name = self.easy if data == EASY else self.hard
        channels = 3 if data == HARD and name != "digits" else 1
        found = search(
            name,
            space=f"layers:channels={self.channels},depth=7,units=48", sampler=sampler,
            budget=",".join(self.budget.split()), input=(channels, self.side, self.side), limit_train=self.images,
            evaluations=self.evaluations, epochs=self.epochs, final_epochs=self.final_epochs, seed=seed,
        )  # fmt: skip
        if found is None:
            raise UserError("the search was stopped.")
        fitness = [
            one.evaluation.fitness for one in found.candidates if one.evaluation and one.evaluation.fitness is not None
        ]
        return {
            "accuracy": 100 * found.figures["accuracy"], "validation": 100 * max(fitness),
            "networks": len(found.candidates), "params": found.figures["params"], "macs": found.figures["macs"],
            "model": found.model,
        }  # fmt: skip

    def checks(self, rows: Sequence[Row]) -> list[Check]:
        of = {sampler: _accuracies(rows, sampler) for sampler in (PSO, ACO, TPE, RANDOM)}
        found = [
            Check(f"{sampler} is better than chance", f"test accuracy, {sampler} minus random, points",
                  paired(of[sampler], of[RANDOM]), above=0.0)
            for sampler in (PSO, ACO, TPE) if of[sampler]
        ]  # fmt: skip
        found.append(
            Check("pso is better than aco", "test accuracy, pso minus aco, points", paired(of[PSO], of[ACO]), above=0.0)
        )
        found.append(
            Check("more so on the harder data", f"pso minus aco on {HARD}, minus the same on {EASY}, points",
                  _more_on_the_harder(of[PSO], of[ACO]), above=0.0)
        )  # fmt: skip
        return found

    def figure(self, rows: Sequence[Row]) -> Figure:
        return dots(
            rows, ["data", "sampler"], {"accuracy": "test, trained long", "validation": "validation, in the search"},
            what="accuracy of the best network, %",
            caption="A dot is a search, an upright line the mean: of the best network's accuracy on validation data "
            "after the short training of the search, and on test data after the long one.",
        )  # fmt: skip

    def imagined(self, row: Row, holds: bool) -> Row:
        ahead = {RANDOM: 0.0, TPE: 4.0, ACO: 4.0, PSO: 8.0 + 4.0 * (row["data"] == HARD)}[str(row["sampler"])]
        return {**row, "accuracy": 60.0 + (ahead if holds else -ahead)}


def _accuracies(rows: Sequence[Row], sampler: str) -> dict[Key, float]:
    return {
        (str(row["data"]), int(row["seed"])): number(row, "accuracy") for row in rows if row["sampler"] == sampler
    }  # fmt: skip


def _more_on_the_harder(pso: Mapping[Key, float], aco: Mapping[Key, float]) -> Interval:
    """How much more PSO is ahead on the harder data, seed by seed."""
    ahead = {key: value - aco[key] for key, value in pso.items() if key in aco}
    seeds = [seed for data, seed in ahead if data == HARD and (EASY, seed) in ahead]
    return mean([ahead[HARD, seed] - ahead[EASY, seed] for seed in seeds])
