"""Does a supernet learn a better network than chance or habit would choose from it, and what does that cost?"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from dnal import data, models
from dnal.architecture.architecture import Architecture
from dnal.architecture.compact import compact
from dnal.base.options import option
from dnal.base.statistics import mean, paired
from dnal.models.kaiming import kaiming_init
from dnal.selection.ranking import ranks
from dnal.selection.select import select
from dnal.settings import DEFAULT_LR
from dnal.space.space import Space, macs
from dnal.studies.check import Check
from dnal.studies.figures import dots, number
from dnal.studies.phases import search, train
from dnal.studies.study import Row, Setting, Size, Sizes, Source, Study, Value
from dnal.supernet import blocks
from dnal.supernet.resnet_like import ResNetLike
from dnal.train.evaluate import accuracy
from dnal.train.setup.numerics import fabric_of

if TYPE_CHECKING:
    from dnal.report.figure import Figure

FIRST, BEST = "learnt 4+2+6", "learnt 2+2+8"
SHARES = {FIRST: (4, 2, 6), BEST: (2, 2, 8)}
"""Epochs of base, architecture phase and retraining."""
UNIFORM, INHERITED, ALONE = "uniform", "uniform, supernet's weights", f"{FIRST}, new weights"
RATES = (0.05, 0.1, 0.2)
DRAWN, SEEDS_DRAWN = 5, 3
"""Random architectures on each of the first seeds; one on each of the others."""
SMALLEST = f"{__name__}:one_stage"
VALIDATION, TEST = "validation", "test"


@dataclass(frozen=True)
class LearningBeatsChance(Study):
    """What is learnt from a supernet is better than its uniform choice and than random ones of equal cost.

    `supernet/small`; the budget is what the space's uniform choice costs: 3x3 of expansion 3 on every edge, all widths
    whole. Every row sees the same number of training images in all; without distillation. Rows:

    learnt: so many epochs of the base, of the architecture phase (method `dnal`), and of retraining what is left. Of
    the shares that were tried, the other seeds got the one that was best on the first seed's validation images.

    random: one or two of its operations on every edge and a width from 30 to 100 % in every group, drawn at random, all
    widths then multiplied by one factor so that the MACs are met; new weights, all epochs. uniform: new weights, all
    epochs. On the first seed also the learnt architecture from new weights, and the uniform one from the supernet's.

    The learning rate was chosen for rows from the base's weights and for those from new ones, of the same three, on the
    validation images of the first seed (the rows on them); it is the option `rate`. The test images are looked at once
    per row. Seconds are of the process, one thread; on a GPU, of the clock.
    """

    claim = (
        "Architecture learning from a supernet with all candidates active finds small networks of higher accuracy "
        "at a cost near that of training."
    )
    source = Source(
        "Q. Guo, X.-J. Wu, J. Kittler, Z. Feng, Differentiable Neural Architecture Learning for Efficient Neural "
        "Network Design (2021)",
        "2103.02126",
        "The supernet and its three phases are verified with the authors' code; the claim is a paraphrase; the "
        "controls at equal cost are ours.",
    )
    needs = "CIFAR-10: `data=cifar10` downloads it, `data=FILE.npz` is your own copy."
    differs = (
        "A small space at 16x16, 10,000 images, 12 epochs in all; the method dnal, which keeps a budget, instead of a "
        "penalty."
    )
    sizes = Sizes(
        tiny=Size(2, "seconds", {"data": "digits", "side": 8, "images": 64, "model": SMALLEST,
                                 "shares": 1, "tried": False, "short": True}),
        small=Size(9, "5 hours"),
        paper=Size(9, "days", {"side": 32, "images": None}),
    )  # fmt: skip
    data: str = option("cifar10", "A data set by name, or an .npz.")
    model: str = option("supernet/small", "The supernet.")
    side: int = option(16, "Of the images.", least=8)
    images: int | None = option(10_000, "For training; none: all.", least=1)
    batch_size: int = option(128, "Of the training.", least=1)
    rate: float = option(0.2, "Of the retraining, and of networks with new weights.", above=0)
    shares: int = option(2, "How many shares of the epochs are tried.", least=1, most=2)
    tried: bool = option(True, "Also the rows that choose rate and shares, and those of the first seed alone.")
    short: bool = option(False, "A quarter of all epochs.")

    def settings(self) -> Sequence[Setting]:
        return [_setting(name, self.rate) for name in (self.ours_is, UNIFORM)]

    @property
    def ours_is(self) -> str:
        """The shares that the other seeds get."""
        return list(SHARES)[self.shares - 1]

    def epochs(self, name: str = FIRST) -> tuple[int, int, int]:
        """Of base, architecture phase and retraining."""
        first, second, third = SHARES.get(name, SHARES[FIRST])
        return (first // 4, max(1, second // 4), third // 4) if self.short else (first, second, third)

    def rows(self, seeds: int) -> list[tuple[Setting, int]]:
        found: list[tuple[Setting, int]] = []
        if self.tried:
            for name in (FIRST, UNIFORM):
                found += [(_setting(name, rate, VALIDATION), 0) for rate in RATES]
            found += [(_setting(name, self.rate), 0) for name in (FIRST, ALONE, INHERITED) if name != self.ours_is]
        for seed in range(seeds):
            drawn = DRAWN if self.tried and seed < SEEDS_DRAWN else 1
            found += [(setting, seed) for setting in self.settings()]
            found += [(_setting(f"random {i}", self.rate), seed) for i in range(1, drawn + 1)]
        return found

    def together(self, setting: Setting, seed: int) -> Hashable:
        return seed

    def row(self, seed: int, name: str, rate: float, on: str) -> dict[str, Any]:
        return _job(self, seed).row(name, rate, on)

    def checks(self, rows: Sequence[Row]) -> list[Check]:
        learnt = _accuracies(rows, BEST) or _accuracies(rows, FIRST)
        spent = [
            sum(float(row[part]) for part in ("base_s", "search_s", "train_s")) / _plain(row)
            for row in rows
            if row["name"] in SHARES and row["on"] == TEST and _plain(row) > 0
        ]
        return [
            Check("better than the uniform choice", "accuracy, learnt minus uniform, points",
                  paired(learnt, _accuracies(rows, UNIFORM)), above=0.0),
            Check("better than random ones", "accuracy, learnt minus the mean of the random ones, points",
                  paired(learnt, _accuracies(rows, "random")), above=0.0),
            Check("cheaper than training the supernet plainly",
                  "seconds of the whole job over those of the supernet on as many images", mean(spent), below=1.0),
        ]  # fmt: skip

    def figure(self, rows: Sequence[Row]) -> Figure:
        own = [
            row | {"what": "random" if str(row["name"]).startswith("random") else row["name"]}
            for row in rows
            if row["on"] == TEST
        ]
        return dots(own or list(rows), ["what" if own else "name"], "accuracy", what="accuracy on the test data")

    def imagined(self, row: Row, holds: bool) -> Row:
        learnt = row["name"] in SHARES
        noise = 0.001 * (int(row["seed"]) % 3) * learnt
        better = 0.6 if learnt == holds else 0.5
        seconds = {"base_s": 10.0, "search_s": 9.0, "train_s": 1.0 if holds else 100.0} if learnt else {}
        return row | {"accuracy": better + noise} | seconds


def one_stage(classes: int, input_shape: tuple[int, int, int]) -> nn.Module:
    """A supernet of two edges: it shows in seconds that the study runs."""
    return ResNetLike((8,), classes=classes, in_channels=input_shape[0])


def _setting(name: str, rate: float, on: str = TEST) -> Setting:
    return {"name": name, "rate": rate, "on": on}


def _accuracies(rows: Sequence[Row], name: str) -> dict[Value, float]:
    """Accuracy on the test images by seed, in percent; the mean of those whose name begins so."""
    found: dict[Value, list[float]] = {}
    for row in rows:
        if row["on"] == TEST and (row["name"] == name or (name == "random" and str(row["name"]).startswith(name))):
            found.setdefault(row["seed"], []).append(100 * float(row["accuracy"]))
    return {seed: statistics.fmean(values) for seed, values in found.items()}


def _plain(row: Row) -> float:
    """Seconds of training the supernet plainly for as many images, from those of its base's epochs."""
    first, *others = (int(part) for part in str(row["epochs"]).split("+"))
    return number(row, "base_s") / first * (first + sum(others))


@lru_cache(maxsize=1)
def _job(study: LearningBeatsChance, seed: int) -> _Job:
    return _Job(study, seed)


class _Job:
    """One seed: its data, its base and the architecture learnt from it, each made when first asked for."""

    def __init__(self, study: LearningBeatsChance, seed: int) -> None:
        self.study, self.seed = study, seed
        self.fabric = fabric_of("auto")
        shape = None if study.data == "digits" else (3, study.side, study.side)
        self.dataset = data.load(study.data, input_shape=shape, limit_train=study.images, seed=0)
        self.example = torch.zeros(2, *self.dataset.input_shape, device=self.fabric.device)
        self._bases: dict[int, tuple[nn.Module, float]] = {}
        self._learnt: dict[str, tuple[nn.Module, Architecture, float]] = {}
        begun = self.clock()
        self.space = Space.of(self.fresh(), self.example)
        self.trace_s = self.clock() - begun
        self.limits = {"macs": float(self.space.cost_of(self.uniform)["macs"])}

    def fresh(self) -> nn.Module:
        torch.manual_seed(1000 + self.seed)
        network = models.create(
            self.study.model, classes=self.dataset.classes, input_shape=self.dataset.input_shape
        )  # fmt: skip
        network.to(memory_format=torch.channels_last)
        return network.to(self.fabric.device)

    @cached_property
    def uniform(self) -> Tensor:
        """The variables of every edge's first candidate, 3x3 of expansion 3, and all widths."""
        chosen = torch.ones(self.space.num_gates, dtype=torch.bool)
        for branch in self.space.branches:
            chosen[branch.variable] = branch.name.endswith(".0")
        return Architecture.of(self.space, chosen).open

    def random(self, number: int) -> Tensor:
        """Random operations and widths, scaled to the budget."""
        generator = torch.Generator().manual_seed(100 * self.seed + number)
        chosen = torch.zeros(self.space.num_gates, dtype=torch.bool)
        edges: dict[str, list[int]] = {}
        for branch in self.space.branches:
            edges.setdefault(branch.name.rpartition(".")[0], []).append(branch.variable)
        for variables in edges.values():
            count = int(torch.randint(1, 3, (), generator=generator))
            chosen[torch.tensor(variables)[torch.randperm(len(variables), generator=generator)[:count]]] = True
        order = torch.rand(self.space.num_gates, dtype=torch.float64, generator=generator)
        score = torch.empty(self.space.num_variables, dtype=torch.float64)
        rank = ranks(self.space, order).double()
        for group in self.space.groups:
            share = 0.3 + 0.7 * float(torch.rand((), generator=generator))
            score[group.variables] = (rank[group.variables] + 0.5) / (share * group.width)
            score[group.variables[rank[group.variables] == 0]] = 0.0  # the first channel stays

        def scaled(factor: float) -> Tensor:
            opened = chosen.clone()
            opened[: self.space.num_variables] = score <= factor
            return opened

        low, high = 0.0, 100.0
        for _ in range(60):
            middle = (low + high) / 2
            fits = self.space.cost_of(scaled(middle))["macs"] <= self.limits["macs"]
            low, high = (middle, high) if fits else (low, middle)
        return Architecture.of(self.space, scaled(low)).open

    def base(self, epochs: int) -> tuple[nn.Module, float]:
        """The supernet after so many epochs, and their seconds."""
        if epochs not in self._bases:
            network, begun = self.fresh(), self.clock()
            train(self.fabric, network, self.loader(), epochs, DEFAULT_LR, warmup=0.1)
            self._bases[epochs] = network, self.clock() - begun
        return self._bases[epochs]

    def learnt(self, name: str) -> tuple[nn.Module, Architecture, float]:
        """The supernet after the architecture phase, the architecture, and the seconds of that phase."""
        if name not in self._learnt:
            first, second, _ = self.study.epochs(name)
            network = copy.deepcopy(self.base(first)[0])
            begun = self.clock()
            s = search(self.fabric, network, self.space, self.limits, self.loader(), second)
            architecture = Architecture.of(self.space, select(self.space, s, self.limits))
            self._learnt[name] = network, architecture, self.clock() - begun
        return self._learnt[name]

    def loader(self) -> data.EpochLoader:
        return data.loaders(self.dataset, self.study.batch_size, seed=self.seed).train

    def accuracy(self, network: nn.Module, part: str) -> float:
        return accuracy(network, getattr(data.loaders(self.dataset, 500, seed=0), part))

    def start(self, name: str) -> tuple[nn.Module, Architecture, int]:
        """The compact network as its training finds it, its architecture, and the epochs left."""
        epochs = sum(self.study.epochs())
        if name in SHARES:
            network, architecture, _ = self.learnt(name)
            return compact(network, architecture), architecture, self.study.epochs(name)[2]
        if name.startswith("random"):
            chosen = self.random(int(name.split()[1]))
        else:
            chosen = self.learnt(FIRST)[1].open if name == ALONE else self.uniform
        architecture = Architecture.of(self.space, chosen)
        if name == INHERITED:
            first = self.study.epochs()[0]
            return compact(self.base(first)[0], architecture), architecture, epochs - first
        small = compact(self.fresh(), architecture)
        kaiming_init(small)
        return small, architecture, epochs

    def row(self, name: str, rate: float, on: str) -> dict[str, Any]:
        network, architecture, epochs = self.start(name)
        small = copy.deepcopy(network).to(memory_format=torch.channels_last)
        begun = self.clock()
        train(self.fabric, small, self.loader(), epochs, rate, warmup=0.0 if name in (*SHARES, INHERITED) else 0.1)
        seconds = self.clock() - begun
        found = macs(small, self.example)
        parameters = sum(p.numel() for p in small.parameters())
        row: dict[str, Any] = {
            **({"accuracy": round(self.accuracy(small, "test"), 4)} if on == TEST else {}),
            "validation": round(self.accuracy(small, "val"), 4), "macs": found,
            "macs_of_budget": round(found / self.limits["macs"], 4), "params": parameters,
            "epochs": "+".join(map(str, self.study.epochs(name))) if name in SHARES else epochs,
            "images": sum(self.study.epochs()) * len(self.dataset.train), "train_s": round(seconds, 2),
        }  # fmt: skip
        if name in SHARES and on == TEST:
            base, searched = self.base(self.study.epochs(name)[0])[1], self.learnt(name)[2]
            row |= {"trace_s": round(self.trace_s, 2), "base_s": round(base, 2), "search_s": round(searched, 2)}
        if on == TEST:
            row["blocks"] = "; ".join(blocks(self.fresh(), architecture))
        return row

    def clock(self) -> float:
        """Seconds of this process; of the clock where the work is done elsewhere."""
        if self.fabric.device.type != "cuda":
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()
