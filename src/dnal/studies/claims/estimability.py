"""Do measures tell of a network's error where sample and network look the same whatever it is?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from dnal import data
from dnal.analyses.measures.norms import norm_measures
from dnal.base.options import option
from dnal.base.statistics import auroc, mean, paired
from dnal.studies.check import Check
from dnal.studies.figures import dots, number
from dnal.studies.study import Row, Setting, Size, Sizes, Source, Study
from dnal.theory.estimability import compared, tabular

if TYPE_CHECKING:
    from dnal.report.figure import Figure

Array = NDArray[np.float64]

HIDDEN, PLAIN = "learners that hide it", "one plain learner"
POINTS, SAMPLES = 8, 4


@dataclass(frozen=True)
class SomeErrorsCannotBeEstimated(Study):
    """What no measure can tell it does not tell, and where a plain learner meets real or random labels measures do.

    Eight images of the digits 0 and 1 are all there is; four draws of them are the sample, and the classifier is the
    shortest linear one. In the first setting the labels are random, and the learner fits the labels of all eight, or of
    a function that agrees with them on the sample alone: sample and classifier have the same law, the errors are 0 and
    29 %. A regression on all measures of norms and the margin, and on the sample's labels, is fitted on half of the
    draws and tries the other half. The control has one learner, which fits the sample, and labels that are the digits
    or random.
    """

    claim = (
        "In the over-parameterised setting no estimator that sees the training set and the hypothesis is uniformly "
        "tight over all learners and distributions."
    )
    source = Source(
        "M. Gastpar, I. Nachum, J. Shafer and T. Weinberger, Fantastic Generalization Measures are Nowhere to be Found "
        "(ICLR 2024)",
        "2309.13658",
        "The theorems are known from their referees' restatements; the constants are enumerated here.",
    )
    needs = "Nothing: scikit-learn brings the digits."
    differs = "The paper has theorems alone; eight images, a linear classifier."
    sizes = Sizes(
        tiny=Size(3, "seconds", {"draws": 40}), small=Size(12, "a minute"), paper=Size(100, "an hour", {"draws": 5000})
    )
    draws: int = option(200, "Of sample and labels in each world.", least=10)

    def settings(self) -> Sequence[Setting]:
        return [{"setting": HIDDEN}, {"setting": PLAIN}]

    def row(self, seed: int, setting: str) -> dict[str, Any]:
        rng = np.random.default_rng(seed)
        told, worlds, errors = [], [], []
        for _ in range(self.draws):
            for world in (0, 1):
                seen, error = _drawn(rng, setting, world)
                told.append(seen)
                worlds.append(world)
                errors.append(error)
        features = np.array(told)
        half = len(features) // 2
        guessed = _regressed(features, np.array(errors), half)
        score = _regressed(features, np.array(worlds, dtype=float), half)
        tried, truth = np.array(worlds[half:], dtype=bool), np.array(errors)
        return {
            "auroc": round(auroc(score.tolist(), tried.tolist()).value, 5),
            "missed": round(float(np.abs(guessed - truth[half:]).mean()), 5),
            "least": float(_bound()) if setting == HIDDEN else 0.0,
            "apart": round(float(truth[1::2].mean() - truth[::2].mean()), 5),
        }  # fmt: skip

    def checks(self, rows: Sequence[Row]) -> list[Check]:
        def of(column: str, setting: str) -> dict[int, float]:
            return {int(row["seed"]): number(row, column) for row in rows if row["setting"] == setting}

        return [
            Check("nothing tells the worlds apart", f"AUROC of a regression on all measures, {HIDDEN}",
                  mean(list(of("auroc", HIDDEN).values()), 0.9), above=0.4, below=0.6),
            Check("though the errors are others", "error in the second world minus that in the first",
                  mean(list(of("apart", HIDDEN).values())), above=0.1),
            Check("so that estimates miss by what is enumerated", "mean absolute error minus the least there can be",
                  paired(of("missed", HIDDEN), of("least", HIDDEN)), above=-0.02),
            Check("control: of a plain learner measures tell", f"AUROC of a regression on all measures, {PLAIN}",
                  mean(list(of("auroc", PLAIN).values())), above=0.65),
        ]  # fmt: skip

    def figure(self, rows: Sequence[Row]) -> Figure:
        columns = {"auroc": "AUROC of the worlds", "missed": "error of the estimate", "least": "the least there can be"}
        return dots(rows, ["setting"], columns, what="what measures tell")

    def imagined(self, row: Row, holds: bool) -> Row:
        noise = 0.001 * (int(row["seed"]) % 3)
        if row["setting"] == PLAIN:
            return row | {"auroc": (0.9 if holds else 0.5) + noise}
        if holds:
            return row | {"auroc": 0.5 + noise, "apart": 0.3, "missed": 0.16 + noise, "least": 0.147}
        return row | {"auroc": 0.9 + noise, "apart": 0.0, "missed": 0.05 + noise, "least": 0.147}


def _drawn(rng: np.random.Generator, setting: str, world: int) -> tuple[list[float], float]:
    """What is seen of sample and classifier, and the error of the classifier on all points."""
    x, digits = _images()
    sample = np.unique(rng.integers(POINTS, size=SAMPLES))
    if setting == HIDDEN:
        truth = rng.integers(2, size=POINTS)
        labels = truth.copy()
        if world:
            others = np.setdiff1d(np.arange(POINTS), sample)
            labels[others] = rng.integers(2, size=len(others))
        weights = _shortest(x, labels)
    else:
        truth = rng.integers(2, size=POINTS) if world else digits
        weights = _shortest(x[sample], truth[sample])
    ahead = (2 * truth[sample] - 1) * (x[sample] @ weights)
    found = norm_measures([torch.from_numpy(np.stack([-weights, weights]))], None, float(2 * ahead.min()))
    error = float(((x @ weights > 0).astype(int) != truth).mean())
    seen = np.zeros(POINTS)
    seen[sample] = 2.0 * truth[sample] - 1
    return [*found.values(), *seen, float(len(sample))], error


def _shortest(x: Array, labels: NDArray[Any]) -> Array:
    """The shortest weights whose sign is that of the labels, by exactly 1."""
    return np.asarray(np.linalg.lstsq(x, 2.0 * labels - 1, rcond=None)[0], dtype=np.float64)


def _regressed(features: Array, target: Array, half: int) -> Array:
    """A ridge regression on the features and their products with themselves, of the first half, on the second."""
    scaled = (features - features[:half].mean(0)) / (features[:half].std(0) + 1e-9)
    scaled = np.concatenate([scaled, scaled**2], axis=1).clip(-10, 10)
    design = np.concatenate([scaled, np.ones((len(scaled), 1))], axis=1)
    own = design[:half]
    weights = np.linalg.solve(own.T @ own + np.eye(own.shape[1]), own.T @ target[:half])
    return np.asarray(design[half:] @ weights, dtype=np.float64)


@lru_cache(maxsize=1)
def _images() -> tuple[Array, NDArray[Any]]:
    """Four images of each of the digits 0 and 1, as rows, and which it is."""
    part = data.load("digits", augment=False).train
    inputs, targets = part.batch(torch.arange(len(part)), 0)
    chosen = torch.cat([(targets == digit).nonzero()[: POINTS // 2, 0] for digit in (0, 1)])
    return inputs[chosen].flatten(1).double().numpy(), targets[chosen].numpy()


@lru_cache(maxsize=1)
def _bound() -> float:
    return float(compared(*tabular(POINTS, SAMPLES)).least)
