"""Does the search of TAS end at its target by itself?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from dnal import data, models
from dnal.base.options import option
from dnal.base.statistics import mean
from dnal.pipeline.learn import learn
from dnal.studies.check import Check
from dnal.studies.figures import dots
from dnal.studies.study import Row, Setting, Size, Sizes, Source, Study

if TYPE_CHECKING:
    from dnal.report.figure import Figure

SMALL, RESIDUAL = "vgg_small", "cifar/resnet20"
TARGETS = (0.3, 0.5, 0.7)
TOLERANCE = 0.05
"""Of the target: that of the paper's loss."""


@dataclass(frozen=True)
class TasEndsAtItsTarget(Study):
    """The search of TAS ends within 5 % of its target, before any selection sees to it.

    Of each search two architectures are looked at: that of the last step, which the paper keeps, and that of the last
    step that was on target, which dnal keeps. Every row counts as one observation.
    """

    claim = (
        "The cost loss drives the network's FLOPs into a band of 5 % around the target, and the architecture of the "
        "last epoch is kept."
    )
    source = Source(
        "X. Dong, Y. Yang, Network Pruning via Transformable Architecture Search (NeurIPS 2019)",
        "1905.09717",
        "The loss and what is kept are verified with the authors' code; the paper states no number for how often the "
        "target is met.",
    )
    needs = "The digits of scikit-learn, which come with it."
    differs = "A small VGG and a ResNet-20 on the digits, 15 epochs of search instead of 600."
    sizes = Sizes(
        tiny=Size(2, "seconds", {"epochs": 1, "around": 1, "images": 128, "residual": False, "targets": 1}),
        small=Size(3, "40 minutes"),
        paper=Size(5, "many hours", {"epochs": 600, "around": 300}),
    )
    epochs: int = option(15, "Of the search.", least=1)
    around: int = option(5, "Epochs before the search, and of the retraining.", least=1)
    images: int | None = option(None, "For training; none: all.", least=1)
    targets: int = option(3, "How many of the targets 0.3, 0.5 and 0.7.", least=1, most=3)
    residual: bool = option(True, "A ResNet-20 too, on the first seed.")

    def settings(self) -> Sequence[Setting]:
        return [{"model": SMALL, "target": target} for target in TARGETS[: self.targets]]

    def rows(self, seeds: int) -> list[tuple[Setting, int]]:
        more = [({**setting, "model": RESIDUAL}, 0) for setting in self.settings()] if self.residual else []
        return [*super().rows(seeds), *more]

    def row(self, seed: int, model: str, target: float) -> dict[str, Any]:
        torch.manual_seed(seed)
        loaders = data.loaders(data.load("digits", limit_train=self.images), 64)
        network = models.create(model, classes=10, input_shape=(1, 8, 8))
        learned = learn(
            network, loaders.train, loaders.val, loaders.test, f"macs<={100 * target:g}%", method="tas",
            epochs=(self.around, self.epochs, self.around), seed=seed,
        )  # fmt: skip
        last = [record for record in learned.history if record["phase"] == "architecture"][-1]
        wanted = target * learned.figures.base.macs
        return {
            "epochs": self.epochs,
            "last_step": round(last["macs_hard"] / wanted, 3), "found": round(last["macs_found"] / wanted, 3),
            "accuracy": round(learned.figures.compact.metric or 0.0, 4),
            "after_selection": round(learned.figures.compact.macs / wanted, 3),
        }  # fmt: skip

    def checks(self, rows: Sequence[Row]) -> list[Check]:
        words = {"last_step": "the last step is on target", "found": "the last step that was on target is near it"}
        return [
            Check(
                claim, f"distance of '{column}' from the target, of the target",
                mean([abs(float(row[column]) - 1) for row in rows]), below=TOLERANCE,
            )
            for column, claim in words.items()
        ]  # fmt: skip

    def figure(self, rows: Sequence[Row]) -> Figure:
        names = {"last_step": "the last step", "found": "the last step on target"}
        return dots(rows, ["model", "target"], names, what="MACs of the architecture, of the target")

    def imagined(self, row: Row, holds: bool) -> Row:
        distance = (0.01 if holds else 0.2) + 0.001 * (int(row["seed"]) % 3)
        return row | {"last_step": 1 - distance, "found": 1 + distance}
