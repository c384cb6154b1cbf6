"""Does a generalisation measure say which compact network to retrain?"""

from __future__ import annotations

import copy
import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from dnal import models
from dnal.analyses.likeness import spread
from dnal.analyses.measures.bank import BANK, generalisation
from dnal.analyses.measures.ranking import granulated, tau
from dnal.base.options import option
from dnal.base.statistics import mean_of_known, paired
from dnal.data import Loaders
from dnal.data.dataset import plain
from dnal.pipeline.learn import learn
from dnal.studies.check import Check
from dnal.studies.figures import dots, numbers
from dnal.studies.images import dataset_of, image_loaders
from dnal.studies.phases import train
from dnal.studies.study import Row, Setting, Size, Sizes, Source, Study
from dnal.train.evaluate import accuracy
from dnal.train.setup.numerics import fabric_of

if TYPE_CHECKING:
    from dnal.report.figure import Figure

METHODS = ("magnitude", "taylor", "uniform", "random")
BUDGETS = (60.0, 45.0, 30.0, 20.0, 12.0, 8.0)
NAMES = tuple(one.name for one in BANK)
FLATNESS = "pacbayes_mag_flatness"
NUMERICS = "precision=32-true,memory_format=contiguous"


@dataclass(frozen=True)
class MeasuresOfCompactNetworks(Study):
    """At removal the validation accuracy says best which compact network will be good, and no measure says it better.

    A row is a compact network: a method and a share of the MACs, from one base a seed. Right after the removal it has a
    validation accuracy and the measures of the bank, from where its channels began, on images of the training part;
    then it is retrained, with the base as teacher, and has a test accuracy. All networks of a seed are ranked by each
    of these. Which measure is best is chosen on the other seeds. The control is the number of MACs, which needs no
    network.
    """

    claim = (
        "Generalisation measures rank networks by how they will do on new data; none of them can be a tight bound for "
        "all algorithms and distributions."
    )
    source = Source(
        "M. Gastpar, I. Nachum, J. Shafer and T. Weinberger, Fantastic Generalization Measures are Nowhere to be Found "
        "(ICLR 2024)",
        "2309.13658",
        "The claim is recalled from its reviews; the paper has no experiment. The measures are of arXiv 1912.02178.",
    )
    needs = "CIFAR-10: `data=cifar10` downloads it, `data=FILE.npz` is your own copy."
    differs = (
        "Compact networks before their retraining instead of trained ones; images of 16 x 16, 5,000 of them; the "
        "question is ours."
    )
    sizes = Sizes(
        tiny=Size(
            2, "seconds",
            {"data": "digits", "model": "vgg_small", "images": 100, "side": 8, "epochs": (1, 1), "few": True},
        ),
        small=Size(3, "an hour of one core", {"side": 16}),
        paper=Size(10, "days", {"images": None, "epochs": (60, 40), "measured": 5000}),
    )  # fmt: skip
    data: str = option("cifar10", "A data set by name, or an .npz.")
    model: str = option("cifar/resnet20", "The network.")
    epochs: tuple[int, int] = option((12, 6), "Of the base and of the retraining.", least=1)
    images: int | None = option(5000, "For training; none: all.", least=1)
    measured: int = option(1000, "Training images on which measures are taken.", least=10)
    side: int = option(32, "Pixels of an image's side.", least=1)
    few: bool = option(False, "Whether there are 4 networks a seed instead of 24.")

    def settings(self) -> Sequence[Setting]:
        methods, budgets = (METHODS[:2], BUDGETS[1:3]) if self.few else (METHODS, BUDGETS)
        return [{"method": method, "budget": budget} for method in methods for budget in budgets]

    def together(self, setting: Setting, seed: int) -> Hashable:
        return seed

    def row(self, seed: int, method: str, budget: float) -> dict[str, Any]:
        base = _base(self, seed)
        data = base.data
        first = learn(
            copy.deepcopy(base.network), data.train, data.val, data.test, f"macs<={budget:g}%", method=method,
            epochs=(0, 0, 0), seed=seed, base_is_trained=True, numerics=NUMERICS,
        )  # fmt: skip
        network = first.network
        removed = accuracy(network, data.val)
        before = self._measures(network, first.change.apply(copy.deepcopy(base.initial)), base)
        train(fabric_of("32-true"), network, data.train, self.epochs[1], 0.05, teacher=base.network)
        network.eval()
        after = generalisation(network, None, base.looked)
        right = accuracy(network, data.test)
        return {
            "macs": first.figures.compact.macs / first.figures.base.macs, "removed": round(removed, 5),
            "val": round(accuracy(network, data.val), 5), "test": round(right, 5),
            "gap": round(after.accuracy - right, 5),
            **before, **{f"{name} after": _short(value) for name, value in after.values.items() if name == FLATNESS},
        }  # fmt: skip

    def _measures(self, network: nn.Module, initial: nn.Module, base: _Base) -> dict[str, float]:
        found = generalisation(network, initial, base.looked)
        return {name: _short(found.values.get(name, math.nan)) for name in NAMES}

    def checks(self, rows: Sequence[Row]) -> list[Check]:
        seeds = {seed: own for seed in _seeds(rows) if len(own := _of_seed(rows, seed)) > 2}
        by = {seed: {name: _tau(own, name) for name in NAMES} for seed, own in seeds.items()}
        chosen = {seed: _chosen({other: by[other] for other in by if other != seed} or by) for seed in by}
        best = {seed: by[seed][chosen[seed]] for seed in by}
        removed = {seed: -_tau(own, "removed") for seed, own in seeds.items()}
        macs = {seed: -_tau(own, "macs") for seed, own in seeds.items()}
        within = [_within(own, "removed") for own in seeds.values()]
        flat = [tau(numbers(own, f"{FLATNESS} after"), numbers(own, "gap")).value for own in seeds.values()]
        return [
            Check("the validation accuracy at removal ranks", "its Kendall's tau with the test accuracy",
                  mean_of_known(list(removed.values())), above=0.2),
            Check("better than the MACs do", "tau of the accuracy minus that of the MACs",
                  paired(removed, macs), above=0.0),
            Check("also where the budget is one", "its psi along the method", mean_of_known(within), above=0.0),
            Check("no measure ranks better", "tau of the best measure of other seeds minus that of the accuracy",
                  paired(best, removed), below=0.0),
            Check("nor better than the MACs do", "tau of the best measure of other seeds minus that of the MACs",
                  paired(best, macs), below=0.0),
            Check("after retraining, flatness ranks the gap", "tau of 1 / sigma'^2 with training minus test accuracy",
                  mean_of_known(flat), above=0.0),
        ]  # fmt: skip

    def figure(self, rows: Sequence[Row]) -> Figure:
        told: list[Row] = [
            {"by": name.replace("_", " "), "seed": seed, "tau": -_tau(own, name) if name in ("removed", "macs") else
             _tau(own, name)}
            for seed in _seeds(rows)
            for name in ("removed", "macs", *NAMES)
            if len(own := _of_seed(rows, seed)) > 2
        ]  # fmt: skip
        if not told:
            return dots(rows, ["method"], "test", what="test accuracy")
        return dots(
            told, ["by"], "tau", what="rank correlation with the test accuracy after retraining",
            caption="A dot is a seed, an upright line the mean. `removed` is the validation accuracy right after "
            "removal; measures count the way they are meant: a smaller one for a better network.",
        )  # fmt: skip

    def imagined(self, row: Row, holds: bool) -> Row:
        place = float(row["budget"]) + METHODS.index(str(row["method"])) / 10
        noise = 1e-4 * (int(row["seed"]) % 3)
        wrong = -place if holds else place
        # A measure that ranks rightly falls with the test accuracy.
        found: Row = dict.fromkeys(NAMES, -wrong)
        return row | found | {
            "test": place / 100 + noise, "removed": (place if holds else -place) / 100,
            "macs": float(place > 40), "gap": place / 100,
            f"{FLATNESS} after": place if holds else -place,
        }  # fmt: skip


@dataclass(frozen=True)
class _Base:
    """A base with where it began, its data, and the training batches on which measures are taken."""

    initial: nn.Module
    network: nn.Module
    data: Loaders
    looked: list[tuple[Tensor, Tensor]]


@lru_cache(maxsize=1)
def _base(study: MeasuresOfCompactNetworks, seed: int) -> _Base:
    dataset = dataset_of(study.data, study.images, study.side)
    loaders = image_loaders(study.data, study.images, study.side, seed)
    torch.manual_seed(seed)
    initial = models.create(study.model, classes=dataset.classes, input_shape=dataset.input_shape)
    network = copy.deepcopy(initial)
    train(fabric_of("32-true"), network, loaders.train, study.epochs[0], 0.1)
    part = plain(dataset.train)
    inputs, targets = part.batch(spread(len(part), study.measured), 0)
    batches = list(zip(inputs.split(100), targets.split(100), strict=True))
    return _Base(initial, network.eval(), loaders, batches)


def _seeds(rows: Sequence[Row]) -> list[int]:
    return sorted({int(row["seed"]) for row in rows})


def _of_seed(rows: Sequence[Row], seed: int) -> list[Row]:
    return [row for row in rows if int(row["seed"]) == seed]


def _tau(rows: Sequence[Row], name: str) -> float:
    """How a number ranks networks if a smaller one is a better network."""
    return -tau(numbers(rows, name), numbers(rows, "test")).value


def _within(rows: Sequence[Row], name: str) -> float:
    points = [{"method": row["method"], "budget": row["budget"]} for row in rows]
    return granulated(numbers(rows, name), numbers(rows, "test"), points).by_axis.get("method", math.nan)


def _chosen(by: dict[int, dict[str, float]]) -> str:
    """The measure that ranks best on these seeds."""

    def total(name: str) -> float:
        values = [own[name] for own in by.values()]
        return -math.inf if any(math.isnan(value) for value in values) else sum(values)

    return max(NAMES, key=total)


def _short(value: float) -> float:
    return float(f"{value:.6g}")
