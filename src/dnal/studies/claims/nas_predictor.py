"""Does a transformer over tokens rank architectures better than boosting over counts of paths?"""

from __future__ import annotations

import math
import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dnal.base.options import option
from dnal.base.statistics import mean, paired
from dnal.predictors import PREDICTORS
from dnal.predictors.correlation import tau
from dnal.predictors.nar_former.former import NarFormer
from dnal.predictors.predictor import subset
from dnal.predictors.transfer import Transfer
from dnal.studies.architectures import CELLS, DEVICES, INVENTED, fitted, known
from dnal.studies.check import Check
from dnal.studies.figures import curves
from dnal.studies.study import Row, Setting, Size, Sizes, Source, Study

if TYPE_CHECKING:
    from dnal.report.figure import Figure

LABELS = (78, 156, 469, 781, 1563)
"""0.5, 1, 3, 5 and 10 % of the 15,625 cells of NAS-Bench-201."""
FIVE, TEN = 781, 1563
PAPER = {FIVE: 0.849, TEN: 0.901}
WITHIN = 0.02
NAR, PATHS, FLAT = "NAR-Former", "boosting, paths", "boosting, written out"
MODELS = {
    FLAT: "boosting:encoding=flat,learns=values",
    "boosting, written out, ranks": "boosting:encoding=flat",
    "boosting, paths, values": "boosting:learns=values",
    PATHS: "boosting",
    "ridge, paths": "ridge",
    "Gaussian process, paths": "gaussian-process",
    NAR: "nar-former",
}
ABLATIONS = {
    "NAR-Former without augmentation": "nar-former:augment=false",
    "NAR-Former without rank loss": "nar-former:rank=0",
    "NAR-Former without sources": "nar-former:sources=false",
    "NAR-Former, dead nodes too": "nar-former:prune=false",
    "NAR-Former, values": "nar-former:learns=values",
}
PUBLISHED = {"width": 192, "heads": 6, "depth": 6, "hidden": 768, "dropout": 0.1, "lr": 1e-4}
LONG = 100
"""Steps of NAR-Former that are worth a process of their own."""
FEW, SOURCE_LABELS = (10, 50), 900
ALONE, MOVED = "Gaussian process, alone", "transfer"


@dataclass(frozen=True)
class TransformersRankArchitectures(Study):
    """A transformer over tokens of an architecture ranks the rest of NAS-Bench-201 better than boosting.

    Kendall's tau on everything that is not labelled, from 78 to 1,563 labels. The controls are what costs a second:
    boosting over the cell written out, over the paths through it, of values and of their ranks, and kernels over paths.
    The parts of NAR-Former are left out one at a time, at 5 %. A second part is about latency: what a predictor of one
    device's, learnt from 900 labels, is worth on four others with 10 or 50 measurements there, beside a predictor of
    these alone.
    """

    claim = (
        "Tokens that say operation, place and source of each node, fused by a transformer that is trained with a rank "
        "loss and consistency under relabelling, predict the accuracy of architectures better than earlier predictors: "
        "tau .849 at 5 % and .901 at 10 % of NAS-Bench-201."
    )
    source = Source(
        "Y. Yi, H. Zhang, W. Hu, N. Wang and X. Wang, NAR-Former: Neural Architecture Representation Learning towards "
        "Holistic Attributes Prediction (CVPR 2023)",
        "2211.08024",
        "Tokens, network and losses are as in the released code, as far as it was read; the two tau are recalled, not "
        "verified.",
    )
    needs = f"An .npz with {CELLS}, as nas-predictor:file=nasbench201.npz; {INVENTED}."
    differs = (
        "Test accuracy on CIFAR-10 is both learnt and predicted: the table has no validation accuracies. Half the "
        "width, half the blocks, a quarter of the feed-forward parts, no dropout, a few hundred steps instead of 4,000 "
        "epochs, a larger learning rate; labels are learnt as ranks, nodes that nothing passes are left out, and each "
        "step draws another order of the nodes."
    )
    sizes = Sizes(
        tiny=Size(2, "seconds", {"labels": (20, 40), "steps": 2, "sources": 60, "few": (10,)}),
        small=Size(3, "an hour on a core", {}),
        paper=Size(5, "days on two cores", {"steps": 28_000, "published": True}),
    )  # fmt: skip
    file: str = option("", "The table of NAS-Bench-201; empty: invented values.")
    labels: tuple[int, ...] = option(LABELS, "How many architectures are labelled.", least=10)
    steps: int = option(600, "Of the training of NAR-Former, whatever the labels.", least=1)
    published: bool = option(False, "NAR-Former has the size and the learning rate of the paper.")
    sources: int = option(SOURCE_LABELS, "Measurements on the first device.", least=10)
    few: tuple[int, ...] = option(FEW, "Measurements on another one.", least=5)

    def settings(self) -> Sequence[Setting]:
        accuracy: list[Setting] = [
            {"target": "accuracy", "model": model, "labels": number} for number in self.labels for model in MODELS
        ]
        parts: list[Setting] = [{"target": "accuracy", "model": model, "labels": self._five()} for model in ABLATIONS]
        latency: list[Setting] = [
            {"target": f"latency:{device}", "model": model, "labels": number}
            for device in DEVICES[1:] for number in self.few for model in (ALONE, MOVED)
        ]  # fmt: skip
        return [*accuracy, *parts, *latency]

    def together(self, setting: Setting, seed: int) -> Hashable:
        """What takes less time than a process needs to begin shares one."""
        slow = NAR in str(setting["model"]) and self.steps >= LONG
        return (seed, setting["model"] if slow else "")

    def row(self, seed: int, target: str, model: str, labels: int) -> dict[str, Any]:
        table = known(self.file)
        order = np.random.default_rng(seed).permutation(len(table))
        own, rest = order[:labels], order[labels:]
        begun = time.process_time()
        if model in (ALONE, MOVED):
            said, true = self._latency(table, target, model, own, rest)
        else:
            said, true = fitted(self._model(model, labels, seed), table, target, own, rest)
        best = true.max() - true[np.argsort(-said)[:10]].max() if target == "accuracy" else math.nan
        seconds = time.process_time() - begun
        return {"tau": round(tau(said, true), 5), "regret": round(float(best), 4) if target == "accuracy" else "",
                "cpu_seconds": round(seconds, 1)}  # fmt: skip

    def checks(self, rows: Sequence[Row]) -> list[Check]:
        def of(model: str, labels: int, target: str = "accuracy") -> dict[tuple[Any, Any], float]:
            return {
                (row["target"], row["seed"]): float(row["tau"])
                for row in rows
                if row["model"] == model and row["labels"] == labels and str(row["target"]).startswith(target)
            }

        five, ten = self._five(), self.labels[-1]
        gap = "tau, difference of the same seed"
        checks = [
            Check(f"better than boosting of {what} at {labels} labels", gap, paired(of(NAR, labels), of(other, labels)),
                  above=0.0)
            for labels in (five, ten) for what, other in (("the cell written out", FLAT), ("paths", PATHS))
        ]  # fmt: skip
        checks += [
            Check(f"within {WITHIN} of the paper's {PAPER[of_paper]} at {share} %", "tau",
                  mean(list(of(NAR, labels).values())), above=PAPER[of_paper] - WITHIN)
            for of_paper, labels, share in ((FIVE, five, 5), (TEN, ten, 10))
        ]  # fmt: skip
        checks += [
            Check(f"better than {name}", gap, paired(of(NAR, five), of(name, five)), above=0.0)
            for name in list(ABLATIONS)[:3]
        ]
        checks += [
            Check(f"a predictor of another device helps at {number} measurements", "tau, difference of device and seed",
                  paired(of(MOVED, number, "latency"), of(ALONE, number, "latency")), above=0.0)
            for number in self.few
        ]  # fmt: skip
        return checks

    def figure(self, rows: Sequence[Row]) -> Figure:
        shown = [row for row in rows if row["target"] == "accuracy" and row["model"] in MODELS] or list(rows)
        what = ("labels", "Kendall's tau on what is not labelled")
        return curves(shown, "labels", "tau", ["model"], what=what, log=True)

    def imagined(self, row: Row, holds: bool) -> Row:
        noise = 0.001 * (int(row["seed"]) % 3)
        first = row["model"] in (NAR, MOVED)
        return row | {"tau": (0.93 if first == holds else 0.7) + (noise if first else -noise)}

    def _five(self) -> int:
        return FIVE if FIVE in self.labels else self.labels[-1]

    def _model(self, name: str, labels: int, seed: int) -> Any:
        text = {**MODELS, **ABLATIONS}[name]
        model = PREDICTORS.read(text).set_params(seed=seed)
        if isinstance(model, NarFormer):
            model.set_params(epochs=max(1, round(self.steps / math.ceil(labels / model.batch))))
            model.set_params(**(PUBLISHED if self.published else {}))
        return model

    def _latency(self, table: Any, target: str, model: str, own: Any, rest: Any) -> tuple[Any, Any]:
        values, aside = table.target(target), subset(table.architectures, rest)
        if model == ALONE:
            return fitted(PREDICTORS.read("gaussian-process"), table, target, own, rest)
        there = np.concatenate([own, rest])[: self.sources]  # all that is measured here is measured there too
        first = PREDICTORS.read("boosting").fit(
            subset(table.architectures, there), table.target(f"latency:{DEVICES[0]}")[there]
        )  # fmt: skip
        moved = Transfer(first).fit(subset(table.architectures, own), values[own])
        return moved.predict(aside), values[rest]
