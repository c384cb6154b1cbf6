"""Do wide networks predict well because most of their parameters are simple functions?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dnal.base.options import option
from dnal.base.statistics import paired
from dnal.studies.check import Check
from dnal.studies.figures import curves
from dnal.studies.study import Row, Setting, Size, Sizes, Source, Study
from dnal.theory.mixtures import predict

if TYPE_CHECKING:
    from dnal.report.figure import Figure

Array = NDArray[np.float64]

WIDTHS = (2, 8, 32, 128)
TYPICAL, BOARD = "a draw of the prior", "a checkerboard"
FEW, MANY = 10, 100
NEW = 300
"""Inputs at which is predicted."""
MARGIN = 0.01
"""Nats per sample; a difference below is taken for none."""


@dataclass(frozen=True)
class SimpleTargetsStayCheap(Study):
    """Mixtures over wide networks learn a typical function as fast as those over narrow ones, and a rare one slowly.

    The hypotheses are draws of the prior of tanh networks on two inputs, all with the same weight; the mixture weighs
    them by what they said of the samples. That is exact for this finite class. The regret is the mean divergence, in
    nats, of the true probability of a label and the predicted one at new inputs. Controls: the single hypothesis of
    largest posterior, and the prior's mean, which has learnt nothing.
    """

    claim = (
        "The regret of the Bayesian mixture over an over-parameterised class depends on the prior weight of what "
        "is near the truth, not on the number of parameters: simple hypotheses are learnt with little regret."
    )
    source = Source(
        "M. Feder, R. Urbanke and Y. Fogel, The Universality Lens: Why Even Highly Over-Parametrized Models Learn Well "
        "(2025)",
        "2506.07661",
        "The definitions are verified with the paper's introduction; the bound is recalled and derived again. The "
        "paper has no experiment.",
    )
    needs = "Nothing: inputs, networks and labels are drawn."
    differs = "A finite sample of the prior instead of all parameters; two inputs; no Langevin dynamics."
    sizes = Sizes(
        tiny=Size(2, "seconds", {"hypotheses": 100}),
        small=Size(12, "a minute"),
        paper=Size(100, "an hour", {"hypotheses": 100_000}),
    )
    hypotheses: int = option(800, "Networks that are drawn.", least=10)

    def settings(self) -> Sequence[Setting]:
        return [{"target": target, "width": width} for target in (TYPICAL, BOARD) for width in WIDTHS]

    def row(self, seed: int, target: str, width: int) -> dict[str, Any]:
        rng = np.random.default_rng([seed, width])
        inputs = rng.normal(size=(MANY + NEW, 2))
        said = _networks(inputs, width, self.hypotheses + 1, rng)
        if target == TYPICAL:
            truth = said[0]
        else:
            truth = np.where(np.sin(3 * inputs[:, 0]) * np.sin(3 * inputs[:, 1]) > 0, 0.95, 0.05)
        said = said[1:]
        seen = rng.random(MANY) < truth[:MANY]
        each = np.log(np.where(seen, said[:, :MANY], 1 - said[:, :MANY]))
        new, new_truth = said[:, MANY:], truth[MANY:]
        row: dict[str, Any] = {"parameters": 4 * width + 1, "prior": _regret(new_truth, new.mean(0))}
        for number in (FEW, MANY):
            found = predict(each[:, :number].sum(1), new)
            row |= {
                f"regret_{number}": _regret(new_truth, found.mixture), f"single_{number}": _regret(new_truth,
                found.single),
            }  # fmt: skip
        distances = _divergence(new_truth, new).mean(1)
        return row | {"near": float((distances < 0.05).mean())}

    def checks(self, rows: Sequence[Row]) -> list[Check]:
        def of(column: str, target: str, width: int) -> dict[int, float]:
            return {
                int(row["seed"]): float(row[column]) for row in rows if (row["target"], row["width"]) == (target, width)
            }

        narrow, wide = WIDTHS[0], WIDTHS[-1]
        nats = "regret, nats per sample"
        many, few = f"regret_{MANY}", f"regret_{FEW}"
        return [
            Check(f"more parameters cost nothing with {FEW} samples", f"{nats}, width {wide} minus {narrow}, typical",
                  paired(of(few, TYPICAL, wide), of(few, TYPICAL, narrow)), below=MARGIN),
            Check(f"nor with {MANY}", f"{nats}, width {wide} minus {narrow}, typical",
                  paired(of(many, TYPICAL, wide), of(many, TYPICAL, narrow)), below=MARGIN),
            Check("a rare target costs more", f"{nats}, checkerboard minus typical, width {wide}, {MANY} samples",
                  paired(of(many, BOARD, wide), of(many, TYPICAL, wide)), above=MARGIN),
            Check("hypotheses near the rare one weigh less", f"share within 0.05 nats, rare minus typical, {wide}",
                  paired(of("near", BOARD, wide), of("near", TYPICAL, wide)), below=0.0),
            Check("the mixture is better than its best member", f"{nats}, mixture minus single, typical, {FEW}",
                  paired(of(few, TYPICAL, wide), of(f"single_{FEW}", TYPICAL, wide)), below=0.0),
            Check("control: something was learnt", f"{nats}, {MANY} samples minus none, typical target, width {wide}",
                  paired(of(many, TYPICAL, wide), of("prior", TYPICAL, wide)), below=0.0),
        ]  # fmt: skip

    def figure(self, rows: Sequence[Row]) -> Figure:
        told = [
            {**row, "what": f"{row['target']}, {number} samples", "regret": row[f"regret_{number}"]}
            for row in rows
            for number in (FEW, MANY)
        ]
        return curves(told, "width", "regret", ["what"], what=("width", "regret, nats per sample"), log=True)

    def imagined(self, row: Row, holds: bool) -> Row:
        noise = 0.0005 * (int(row["seed"]) % 3)
        typical, size = row["target"] == TYPICAL, float(row["width"]) / WIDTHS[-1]
        regret = 0.02 if typical == holds else 0.3
        regret += (-0.01 if holds else 0.2) * size + noise
        return row | {
            f"regret_{FEW}": regret, f"regret_{MANY}": regret, "prior": 0.5 if holds else 0.0,
            f"single_{FEW}": regret + (0.1 if holds else -0.1) + noise, "near": 0.2 + noise if typical == holds else
            0.0,
        }  # fmt: skip


def _networks(inputs: Array, width: int, number: int, rng: np.random.Generator) -> Array:
    """Probabilities of a 1, (number, N), of networks whose weights are N(0, 1), the readout over the root of the
    width."""
    first, bias = 2 * rng.normal(size=(number, width, 2)), rng.normal(size=(number, width, 1))
    readout = rng.normal(size=(number, 1, width)) / np.sqrt(width)
    found = np.empty((number, len(inputs)))
    for place in range(0, number, 100):  # a piece at a time: all of them would take gigabytes
        part = slice(place, place + 100)
        hidden = np.tanh(first[part] @ inputs.T + bias[part])
        found[part] = 1 / (1 + np.exp(-4 * (readout[part] @ hidden)[:, 0]))
    return found.clip(1e-9, 1 - 1e-9)


def _divergence(truth: Array, predicted: Array) -> Array:
    found: Array = truth * np.log(truth / predicted) + (1 - truth) * np.log((1 - truth) / (1 - predicted))
    return found


def _regret(truth: Array, predicted: Array) -> float:
    return float(f"{_divergence(truth, predicted).mean():.5g}")
