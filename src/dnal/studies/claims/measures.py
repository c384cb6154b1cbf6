"""Which generalisation measures rank networks by their gap, and along what?"""

from __future__ import annotations

import itertools
import math
import zlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from dnal import data
from dnal.analyses.measures.bank import BANK, generalisation
from dnal.analyses.measures.ranking import flip, granulated, tau, worst
from dnal.base.options import option
from dnal.base.statistics import mean_of_known
from dnal.studies.check import Check
from dnal.studies.figures import dots, number, numbers
from dnal.studies.study import Row, Setting, Size, Sizes, Source, Study
from dnal.studies.zoo import Recipe, Trained, trained_together

if TYPE_CHECKING:
    from dnal.report.figure import Figure

AXES = ("width", "depth", "lr", "batch", "decay")
VALUES: dict[str, dict[str, tuple[float, ...]]] = {
    "full": {
        "width": (8, 32, 128), "depth": (1, 2, 3), "lr": (0.01, 0.05), "batch": (16, 64), "decay": (0.0, 0.001),
    },
    "coarse": {"width": (8, 16), "depth": (1, 2), "lr": (0.02, 0.05), "batch": (64,), "decay": (0.0,)},
}  # fmt: skip
NAMES = tuple(one.name for one in BANK)
NORMS = tuple(one.name for one in BANK if 29 <= one.equation <= 44)
"""Measures of norms, distances and paths."""
FLATNESS, PARAMS, CHANCE = "pacbayes_mag_flatness", "params", "chance"
FIT = 0.01
"""The cross entropy at which training stops."""
TURNED = 0.2
"""How far psi must lie from 0 on both sides for a flip."""


@dataclass(frozen=True)
class MeasuresFlip(Study):
    """Along one choice of training a measure ranks networks as their gap does, and along another the other way round.

    ReLU networks on 300 digits, over width, depth, learning rate, batch and decay, all trained until the cross entropy
    is 0.01; the gap is the accuracy on these minus that on the 1,497 others. A row is a network with its measures; all
    settings of a seed are compared with each other, and the intervals are over seeds, which also draw the 300. The
    control is a number by lot. Networks that do not come to 0.01 are left out.
    """

    claim = (
        "Over many networks measures of sharpness rank generalisation best, many of norms fail or correlate "
        "negatively, and a measure can be right on average and wrong along single choices of training."
    )
    source = Source(
        "Y. Jiang et al., Fantastic Generalization Measures and Where to Find Them (ICLR 2020); G. K. Dziugaite et "
        "al., In Search of Robust Measures of Generalization (NeurIPS 2020)",
        "1912.02178",
        "The measures are verified with the code of the second paper; the evaluation and what came out are recalled.",
    )
    needs = "Nothing: scikit-learn brings the digits."
    differs = (
        "Small dense networks on 300 digits instead of convolutional ones on CIFAR-10; sigma is a standard deviation; "
        "no dropout, one optimizer."
    )
    sizes = Sizes(
        tiny=Size(2, "seconds", {"grid": "coarse", "steps": 40}),
        small=Size(3, "10 minutes"),
        paper=Size(20, "an hour", {"images": 1000}),
    )
    grid: Literal["full", "coarse"] = option("full", "Of the settings: 72 networks a seed, or 8.")
    images: int = option(300, "To train on.", least=20, most=1500)
    steps: int = option(6000, "Of training, at most.", least=1)

    def settings(self) -> Sequence[Setting]:
        values = VALUES[self.grid]
        return [dict(zip(AXES, point, strict=True)) for point in itertools.product(*(values[axis] for axis in AXES))]

    def together(self, setting: Setting, seed: int) -> Hashable:
        return setting["width"], setting["depth"], setting["batch"], seed

    def row(self, seed: int, width: int, depth: int, lr: float, batch: int, decay: float) -> dict[str, Any]:
        x, y, new_x, new_y = _images(self.images, seed)
        one = _trained(self, int(width), int(depth), int(batch), seed)[lr, decay]
        found = generalisation(one.network, one.initial, [(x, y)], seed=seed)
        with torch.inference_mode():
            right = float((one.network(new_x).argmax(1) == new_y).double().mean())
        lot = zlib.crc32(repr((seed, width, depth, lr, batch, decay)).encode()) / 2**32
        return {
            "loss": float(f"{one.loss:.4g}"), "steps": one.steps, "train": found.accuracy, "test": round(right, 5),
            "gap": round(found.accuracy - right, 5), CHANCE: round(lot, 6),
            **{name: float(f"{found.values[name]:.6g}") for name in NAMES},
        }  # fmt: skip

    def checks(self, rows: Sequence[Row]) -> list[Check]:
        seeds = [_of_seed(rows, seed) for seed in sorted({int(row["seed"]) for row in rows})]
        seeds = [own for own in seeds if len(own) > 3]
        flips = [_mean([flip(_psi(own, name), TURNED) is not None for name in NORMS]) for own in seeds]
        flat = [_psi(own, FLATNESS) for own in seeds]
        errors = [
            min((worst(numbers(own, name), numbers(own, "gap"), _points(own))[0] for name in NAMES), default=math.nan)
            for own in seeds
        ]
        return [
            Check("most measures of norms flip", f"share of those with psi beyond {TURNED:g} on both sides",
                  mean_of_known(flips), above=0.5),
            Check("flatness ranks", "granulated Kendall of 1 / sigma'^2",
                  mean_of_known([_mean(list(p.values())) for p in flat]), above=0.2),
            Check("and nowhere the other way round", "its least psi along a choice",
                  mean_of_known([min(p.values(), default=math.nan) for p in flat]), above=0.0),
            Check("counting parameters ranks the wrong way round", "psi of their number along the width",
                  mean_of_known([_psi(own, PARAMS).get("width", math.nan) for own in seeds]), below=0.0),
            Check("every measure fails somewhere", "least share, over measures, of wrong pairs where it is worst",
                  mean_of_known(errors), above=0.5),
            Check("control: a number by lot ranks nothing", "its granulated Kendall",
                  mean_of_known([_mean(list(_psi(own, CHANCE).values())) for own in seeds]), above=-0.3, below=0.3),
        ]  # fmt: skip

    def figure(self, rows: Sequence[Row]) -> Figure:
        told: list[Row] = []
        for seed in sorted({int(row["seed"]) for row in rows}):
            own = _of_seed(rows, seed)
            for name in (*NAMES, CHANCE) if len(own) > 1 else ():
                psi = _psi(own, name)
                values = {"all pairs": tau(numbers(own, name), numbers(own, "gap")).value, **psi}
                told.append({"measure": name.replace("_", " "), "seed": seed, **values})
        if not told:
            return dots(rows, ["width"], "gap", what="training minus test accuracy")
        columns = {name: name for name in ("all pairs", *AXES) if any(name in row for row in told)}
        return dots(
            told, ["measure"], columns, what="rank correlation with the gap",
            caption="A dot is a seed, an upright line their mean: Kendall's tau over all pairs of networks, and psi "
            "where a single choice varies. Right of 0 the measure ranks as the gap does.",
        )  # fmt: skip

    def imagined(self, row: Row, holds: bool) -> Row:
        place = [_place(row[axis], axis) for axis in AXES]
        size = float(sum(own * 4**nth for nth, own in enumerate(place)))
        gap = size / 1000
        if not holds:
            return row | {"loss": 0.005, "gap": gap, CHANCE: gap, **dict.fromkeys(NAMES, gap), FLATNESS: -gap}
        turned = size - 2 * place[0]  # the other way round along the width
        flat = turned if (row["depth"], row["lr"]) == (1, 0.05) else size  # there alone
        return row | {
            "loss": 0.005, "gap": gap, CHANCE: 0.5, **dict.fromkeys(NAMES, turned), FLATNESS: flat,
            PARAMS: -float(place[0]),
        }  # fmt: skip


def _place(value: object, axis: str) -> int:
    """Of a value among all that an axis can have."""
    return sorted({own for values in VALUES.values() for own in values[axis]}).index(float(str(value)))


def _of_seed(rows: Sequence[Row], seed: int) -> list[Row]:
    """Those of its networks that fit; where none does, as after few steps, all."""
    own = [row for row in rows if int(row["seed"]) == seed]
    fitting = [row for row in own if number(row, "loss") <= FIT]
    return fitting or own


def _points(rows: Sequence[Row]) -> list[dict[str, Hashable]]:
    return [{axis: row[axis] for axis in AXES} for row in rows]


def _psi(rows: Sequence[Row], name: str) -> dict[str, float]:
    found = granulated(numbers(rows, name), numbers(rows, "gap"), _points(rows)).by_axis
    return {axis: value for axis, value in found.items() if not math.isnan(value)}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


@lru_cache(maxsize=4)
def _images(number: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The digits to train on, and all others."""
    loaded = data.load("digits", augment=False)
    parts = [part.batch(torch.arange(len(part)), 0) for part in (loaded.train, loaded.val, loaded.test)]
    x, y = torch.cat([inputs.flatten(1) for inputs, _ in parts]), torch.cat([targets for _, targets in parts])
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    ours, others = order[:number], order[number:]
    return x[ours], y[ours], x[others], y[others]


@lru_cache(maxsize=1)
def _trained(study: MeasuresFlip, width: int, depth: int, batch: int, seed: int) -> dict[tuple[float, float], Trained]:
    x, y, _, _ = _images(study.images, seed)
    values = VALUES[study.grid]
    pairs = list(itertools.product(values["lr"], values["decay"]))
    recipes = [Recipe(lr, decay, 1000 * seed + nth) for nth, (lr, decay) in enumerate(pairs)]
    found = trained_together(x, y, 10, [width] * depth, recipes, batch=batch, fit=FIT, most=study.steps)
    return dict(zip(pairs, found, strict=True))
