"""Does lambda trace the trade-off of the method `paper`?"""

from __future__ import annotations

import copy
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from dnal import data, models
from dnal.base.options import option
from dnal.base.statistics import kendall, paired
from dnal.methods.paper import Paper
from dnal.pipeline.learn import learn
from dnal.pipeline.result import Learned
from dnal.studies.check import Check
from dnal.studies.figures import curves
from dnal.studies.study import Row, Setting, Size, Sizes, Source, Study

if TYPE_CHECKING:
    from dnal.report.figure import Figure

LAMBDAS = (1e-5, 5e-5, 1e-4, 2e-4, 3e-4, 4e-4, 5e-4)


@dataclass(frozen=True)
class LambdaTracesTheTradeOff(Study):
    """The paper's only control, lambda, goes through the whole trade-off between cost and accuracy.

    arXiv 2103.02126 goes from 1e-5 to 5e-4 on VGG16 with 4,224 channels and some thousand steps of the architecture
    phase; here it is `vgg_small` with 448 channels and 210 steps. A channel's gradient from the task is larger where
    there are fewer of them, and s moves by lr / (1 - momentum) times the gradient a step, so the paper's seven values
    are all multiplied by one number (the option `scale`). One base per seed.
    """

    claim = (
        "With lambda from 1e-5 to 5e-4, VGG16 on CIFAR-10 goes from 212 M FLOPs and 93.8 % to 17 M FLOPs and 89.3 %; "
        "every larger lambda leaves less."
    )
    source = Source(
        "Q. Guo, X.-J. Wu, J. Kittler, Z. Feng, Differentiable Neural Architecture Learning for Efficient Neural "
        "Network Design (2021)",
        "2103.02126",
        "The figures are verified with the authors' tables.",
    )
    needs = "The digits of scikit-learn, which come with it."
    differs = "A small VGG on the digits, 10 epochs per phase; all lambdas are multiplied by 100."
    sizes = Sizes(
        tiny=Size(2, "seconds", {"epochs": (1, 1, 1), "images": 128, "every": 6}),
        small=Size(3, "20 minutes"),
        paper=Size(5, "3 hours", {"epochs": (30, 10, 70)}),
    )
    epochs: tuple[int, int, int] = option((10, 10, 10), "Of base, architecture phase and retraining.", least=1)
    scale: float = option(100.0, "What the paper's lambdas are multiplied by.", above=0)
    every: int = option(1, "Only every so manieth of the seven lambdas.", least=1, most=6)
    images: int | None = option(None, "For training; none: all.", least=1)

    def settings(self) -> Sequence[Setting]:
        return [{"paper_lambda": number} for number in LAMBDAS[:: self.every]]

    def together(self, setting: Setting, seed: int) -> Hashable:
        return seed

    def row(self, seed: int, paper_lambda: float) -> dict[str, Any]:
        learned, base = _first(self, seed)
        if paper_lambda != LAMBDAS[0]:
            learned = _learned(self, seed, copy.deepcopy(base), paper_lambda, trained=True)
        compact = learned.figures.compact
        return {
            "lambda": float(f"{paper_lambda * self.scale:g}"),
            "macs": int(compact.macs), "macs_share": round(compact.macs / learned.figures.base.macs, 4),
            "params": int(compact.params), "accuracy": round(compact.metric or 0.0, 4),
            "base_accuracy": round(learned.figures.base.metric or 0.0, 4), "epochs": "+".join(map(str, self.epochs)),
        }  # fmt: skip

    def checks(self, rows: Sequence[Row]) -> list[Check]:
        lambdas = [float(row["paper_lambda"]) for row in rows]
        macs = [float(row["macs_share"]) for row in rows]
        accuracy = [float(row["accuracy"]) for row in rows]
        least, most = (
            {row["seed"]: float(row["macs_share"]) for row in rows if row["paper_lambda"] == number}
            for number in (LAMBDAS[0], LAMBDAS[-1])
        )
        return [
            Check("a larger lambda leaves fewer MACs", "Kendall's tau of lambda and MACs", kendall(lambdas, macs),
                  below=0.0),
            Check("fewer MACs cost accuracy", "Kendall's tau of MACs and accuracy", kendall(macs, accuracy), above=0.0),
            Check("the range is wide", "share of the MACs at the smallest lambda minus at the largest",
                  paired(least, most), above=0.5),
        ]  # fmt: skip

    def figure(self, rows: Sequence[Row]) -> Figure:
        found = [row | {"macs_percent": 100 * float(row["macs_share"]), "percent": 100 * float(row["accuracy"])}
                 for row in rows]  # fmt: skip
        both = [
            {"what": what, "lambda": row["lambda"], "value": row[column]}
            for what, column in (("MACs left, %", "macs_percent"), ("accuracy, %", "percent"))
            for row in found
        ]
        return curves(both, "lambda", "value", ["what"], what=("lambda", "MACs left and accuracy, %"), log=True)

    def imagined(self, row: Row, holds: bool) -> Row:
        place = LAMBDAS.index(float(row["paper_lambda"])) / (len(LAMBDAS) - 1) + 0.001 * (int(row["seed"]) % 3)
        macs = 0.8 - 0.7 * place if holds else 0.6 + 0.1 * place
        return row | {"macs_share": macs, "accuracy": 0.9 + (0.05 if holds else -0.05) * macs}


def _learned(study: LambdaTracesTheTradeOff, seed: int, network: nn.Module, number: float, *, trained: bool) -> Learned:
    train, val, test = data.loaders(data.load("digits", limit_train=study.images), 64, seed=seed)
    return learn(
        network, train, val, test, method=Paper(penalty=number * study.scale), base_is_trained=trained, seed=seed,
        epochs=study.epochs, lr=1.0 if trained else 0.1,  # a tenth of it after a trained base
    )  # fmt: skip


@lru_cache(maxsize=1)
def _first(study: LambdaTracesTheTradeOff, seed: int) -> tuple[Learned, nn.Module]:
    """What the smallest lambda gives, and the base that it trains, from which all others start."""
    torch.manual_seed(seed)
    base = models.create("vgg_small", classes=10, input_shape=(1, 8, 8))
    return _learned(study, seed, base, LAMBDAS[0], trained=False), base
