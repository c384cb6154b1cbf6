"""Do groups help binary networks, and does evolution with shared weights choose them well?"""

from __future__ import annotations

import random
import statistics
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from dnal.base.options import from_values, option
from dnal.base.statistics import Interval, mean_of_known, paired, spearman
from dnal.costs.deployment import Deployed
from dnal.data import KINDS
from dnal.models.genomes.genome import Genome
from dnal.search.bounds import Bounds
from dnal.search.course import Progress
from dnal.search.result import figures_of
from dnal.search.samplers.evolution import Evolution
from dnal.search.samplers.sampler import Ground
from dnal.search.spaces.binary_mobilenet import BinaryMobileNet
from dnal.search.spaces.space import Chance
from dnal.search.training import data_of, finally_trained
from dnal.settings import Searches
from dnal.studies.check import Check
from dnal.studies.figures import dots, number, numbers
from dnal.studies.study import Row, Setting, Size, Sizes, Source, Study, Value

if TYPE_CHECKING:
    from dnal.report.figure import Figure

DEPTHWISE, FOUR, ONE, FOUND, EQUAL, DRAWN = "depthwise", "4 groups", "1 group", "found", "equal", "drawn"
FAR = 2.0
"""Points of accuracy from which on a depthwise network counts as far behind."""


@dataclass(frozen=True)
class GroupsReplaceDepthwise(Study):
    """Binary depthwise networks fall far behind grouped ones, and evolution finds better groups than chance.

    All networks are `binary-mobilenet/` of one backbone; only the groups of each block's 3x3 convolution differ. The
    accuracy of a row is that of a network trained from new weights, on the test data; `proxy` is its accuracy on the
    validation data with the weights of the supernet that all share. Rows of a seed:

    depthwise, 4 groups, 1 group: the same in each block. found: the best by the shared weights that evolution finds
    among networks with no more BOPs than that of 4 groups. equal: networks drawn by chance, of many those whose BOPs
    are nearest to the found one's. drawn: networks drawn by chance, of any cost.
    """

    claim = (
        "Group convolutions are a middle ground between binary depthwise convolutions, which lose too much, and "
        "ordinary ones, which cost too much; evolution finds the groups of each layer."
    )
    source = Source(
        "H. T. Phan, Z. Liu, D. Huynh, M. Savvides, K.-T. Cheng, Z. Shen, Binarizing MobileNet via Evolution-based "
        "Searching (CVPR 2020)",
        "2005.06305",
        "Abstract and the beginning of the introduction were read; the claim is a paraphrase. No code is published; "
        "blocks, candidates and constants are ours.",
    )
    needs = "Fashion-MNIST: `data=fashion-mnist` downloads it, `data=FILE.npz` is your own copy."
    differs = (
        "Four blocks and small images instead of MobileNet on ImageNet; one training from new weights, without a "
        "phase of full-precision weights; equal BOPs by the nearest of many that are drawn."
    )
    sizes = Sizes(
        tiny=Size(2, "seconds", {"data": "digits", "side": 8, "images": 64, "stem": 4, "stages": (2,), "supernet": 1,
                                 "evaluations": 3, "epochs": 1, "equal": 2, "drawn": 1, "pool": 5}),
        small=Size(3, "25 minutes of one core"),
        paper=Size(3, "days", {"images": None, "side": 28, "stem": 32, "stages": (2, 2, 2), "supernet": 100,
                               "evaluations": 1000, "epochs": 200}),
    )  # fmt: skip
    data: str = option("fashion-mnist", "A data set by name, or an .npz.")
    channels: int = option(1, "Of the images.", least=1)
    side: int = option(14, "Of the images.", least=8)
    images: int | None = option(4000, "For training; none: all.", least=20)
    stem: int = option(16, "Channels of the first convolution.", least=1)
    stages: tuple[int, ...] = option((2, 2), "Blocks of each stage.", least=1)
    supernet: int = option(12, "Epochs of the shared weights.", least=1)
    evaluations: int = option(48, "Networks that evolution measures.", least=1)
    epochs: int = option(10, "Of each network from new weights.", least=1)
    equal: int = option(5, "Randomly drawn networks of about the cost of the found one.", least=1)
    drawn: int = option(5, "Randomly drawn networks of any cost.", least=1)
    pool: int = option(100, "Networks that are drawn, to find those of equal cost.", least=1)

    def settings(self) -> Sequence[Setting]:
        names = [DEPTHWISE, FOUR, ONE, FOUND]
        names += [f"{name} {i}" for name, count in ((EQUAL, self.equal), (DRAWN, self.drawn)) for i in range(count)]
        return [{"network": name} for name in names]

    def together(self, setting: Setting, seed: int) -> Hashable:
        return seed

    def row(self, seed: int, network: str) -> dict[str, Any]:
        return _job(self, seed).row(network)

    def checks(self, rows: Sequence[Row]) -> list[Check]:
        return [
            Check("depthwise is far behind 4 groups", "test accuracy, 4 groups minus depthwise, points",
                  paired(_accuracies(rows, FOUR), _accuracies(rows, DEPTHWISE)), above=FAR),
            Check("4 groups are behind 1", "test accuracy, 1 group minus 4, points",
                  paired(_accuracies(rows, ONE), _accuracies(rows, FOUR)), above=0.0),
            Check("evolution is better than chance at equal BOPs",
                  "test accuracy, found minus the mean of equal, points",
                  paired(_accuracies(rows, FOUND), _accuracies(rows, EQUAL)), above=0.0),
            Check("shared weights rank networks", "Spearman's correlation of proxy and accuracy, per seed",
                  _correlation(rows, (DEPTHWISE, FOUR, ONE, FOUND, EQUAL, DRAWN)), above=0.0),
            Check("also those of equal BOPs", "the same among found and equal, per seed",
                  _correlation(rows, (FOUND, EQUAL)), above=0.0),
        ]  # fmt: skip

    def figure(self, rows: Sequence[Row]) -> Figure:
        return dots(
            [{**row, "kind": _kind(row)} for row in rows], ["kind"],
            {"accuracy": "test, new weights", "proxy": "validation, shared weights"}, what="accuracy, %",
        )  # fmt: skip

    def imagined(self, row: Row, holds: bool) -> Row:
        place = int(str(row["network"]).rpartition(" ")[2]) if _kind(row) in (EQUAL, DRAWN) else 0
        levels = {DEPTHWISE: 50.0, DRAWN: 55.0, FOUR: 61.0, EQUAL: 62.0, FOUND: 70.0, ONE: 75.0}
        level = levels[_kind(row)] + 0.1 * place
        return {**row, "accuracy": level if holds else 100.0 - level, "proxy": level}


def _kind(row: Row) -> str:
    name = str(row["network"])
    return next((kind for kind in (EQUAL, DRAWN) if name.startswith(kind)), name)


def _accuracies(rows: Sequence[Row], kind: str) -> dict[Value, float]:
    """Accuracy by seed; the mean of those of a kind."""
    found: dict[Value, list[float]] = {}
    for row in rows:
        if _kind(row) == kind:
            found.setdefault(row["seed"], []).append(number(row, "accuracy"))
    return {seed: statistics.fmean(values) for seed, values in found.items()}


def _correlation(rows: Sequence[Row], kinds: Sequence[str]) -> Interval:
    """The mean over seeds of the rank correlation of proxy and accuracy; a seed in which one of them has a single value
    has none."""
    found = []
    for seed in dict.fromkeys(row["seed"] for row in rows):
        own = [row for row in rows if row["seed"] == seed and _kind(row) in kinds]
        proxies, accuracies = (numbers(own, name) for name in ("proxy", "accuracy"))
        if len({*proxies}) > 1 and len({*accuracies}) > 1:
            found.append(spearman(proxies, accuracies).value)
    return mean_of_known(found)


@lru_cache(maxsize=1)
def _job(study: GroupsReplaceDepthwise, seed: int) -> _Job:
    return _Job(study, seed)


class _Job:
    """One seed: its shared weights and what evolution finds, made when first asked for."""

    def __init__(self, study: GroupsReplaceDepthwise, seed: int) -> None:
        self.study = study
        self.asked = from_values(
            Searches,
            {
                "data": study.data, "limit_train": study.images, "final_epochs": study.epochs, "seed": seed,
                "input": None if study.data == "digits" else (study.channels, study.side, study.side),
            },
            "a search",
        )  # fmt: skip
        self.space = BinaryMobileNet(stem=study.stem, stages=study.stages, supernet=study.supernet)
        self.data = data_of(self.asked)
        self.sizes = self.data.input_shape
        self.draw = random.Random(seed)
        measure = self.space.evaluator(self.asked)
        assert measure is not None
        self.measure = measure
        self.known = self._bounds("bops<=1G")

    def row(self, name: str) -> dict[str, Any]:
        model = self.model(name)
        costs = self.known.costs(model) or {}
        figures = figures_of(self.asked, self.data, finally_trained(self.asked, model), costs, "", timed=False)
        return {
            "accuracy": 100 * figures["accuracy"], "proxy": 100 * (self.measure(model).fitness or 0.0),
            "bops": costs["bops"], "macs": costs["macs"], "model": model,
        }  # fmt: skip

    def model(self, name: str) -> str:
        if name == FOUND:
            return self.found
        kind, _, place = name.rpartition(" ")
        if kind == EQUAL:
            return self.equal[int(place) % len(self.equal)]
        if kind == DRAWN:
            return self.space.model(self.pool[int(place)])
        groups = 0 if name == DEPTHWISE else int(name.split()[0])
        return self._uniform(groups)

    @cached_property
    def pool(self) -> list[Genome]:
        """Randomly drawn networks."""
        return [self.space.drawn(Chance(self.draw), self.sizes) for _ in range(max(self.study.pool, self.study.drawn))]

    @cached_property
    def found(self) -> str:
        """The best network that evolution finds within the BOPs of four groups."""
        bounds = self._bounds(f"bops<={self._bops(self._uniform(4))!r}")
        ground = Ground(
            self.space, self.sizes, self.asked.seed, lambda genome: bounds.within(self.space.model(genome))
        )  # fmt: skip
        progress = Progress(self.space, Evolution().course(ground), bounds, self.study.evaluations, {})
        progress.advance()
        at = 0
        while (candidate := progress.candidate(at)) is not None:
            candidate.evaluation = self.measure(candidate.model)
            progress.advance()
            at += 1
        assert progress.best is not None
        return progress.best.model

    @cached_property
    def equal(self) -> list[str]:
        """Of the pool those whose BOPs are nearest to the found one's."""
        own = self._bops(self.found)
        others = {self.space.model(genome) for genome in self.pool} - {self.found}
        return sorted(others, key=lambda model: (abs(self._bops(model) - own), model))[: self.study.equal]

    def _uniform(self, groups: int) -> str:
        """The network with equally many groups in each block; 0: as many as channels."""
        whole = self.space.closed(())
        if groups:
            whole = self.space.closed([*whole[:1], *(layer._replace(values=(groups,)) for layer in whole[1:])])
        return self.space.model(whole)

    def _bops(self, model: str) -> float:
        return (self.known.costs(model) or {})["bops"]

    def _bounds(self, budget: str) -> Bounds:
        return Bounds(budget, KINDS["images"], self.sizes, self.data.classes, Deployed.of(1, "torch-cpu"))
