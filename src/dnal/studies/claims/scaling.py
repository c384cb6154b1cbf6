"""Does a ranking of architectures change when each is initialised and trained at the rate that its graph asks for?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor, nn

from dnal.base.options import option
from dnal.base.statistics import mean, paired
from dnal.data import Loaders
from dnal.studies.check import Check
from dnal.studies.figures import dots
from dnal.studies.images import image_loaders
from dnal.studies.study import Row, Setting, Size, Sizes, Source, Study
from dnal.studies.training import plain_steps
from dnal.techniques.scaling import initialise, paths
from dnal.train.evaluate import accuracy
from dnal.train.loader import endless
from dnal.train.schedule import cosine

if TYPE_CHECKING:
    from dnal.report.figure import Figure

NONE, SKIP, CONV1, CONV3, POOL = range(5)
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
"""(from, to) of the digits of a cell, in the order of NAS-Bench-201."""
CELLS = {
    "4-0-4-3-4-4": 86.65, "0-1-1-0-3-2": 88.47, "1-3-1-2-0-0": 88.75, "4-1-1-1-2-0": 88.82,
    "0-4-1-2-3-4": 88.89, "0-3-4-2-1-0": 88.99, "0-0-2-2-3-0": 89.12, "2-4-2-4-1-2": 89.18,
    "2-4-2-2-4-4": 89.29, "3-1-3-1-1-4": 89.93, "4-0-2-3-1-4": 91.02, "0-3-4-4-1-1": 91.21,
    "2-2-2-0-4-3": 91.51, "2-0-4-1-0-3": 91.67, "2-2-3-3-2-0": 91.9, "2-0-4-3-3-0": 92.44,
    "3-2-4-4-3-3": 92.83, "2-4-4-3-2-3": 92.83, "1-1-3-2-2-3": 92.87, "3-1-1-1-3-0": 93.64,
}  # fmt: skip
"""Cells of NAS-Bench-201, drawn at random from those with a path of convolutions and more than 85 %, and their
published test accuracy on CIFAR-10 after 200 epochs."""
DEFAULT_RATE, BASE_RATE = 0.1, 0.46
"""The rate of NAS-Bench-201 and that of the published base, a cell whose only path is one layer."""
TRAININGS = ("default", "scaled")


@dataclass(frozen=True)
class RankingsDependOnTraining(Study):
    """Scaled initialisation and rates change the ranking of cells by more than another seed does, and raise accuracy.

    Every cell is trained with the benchmark's own rate and PyTorch's initialisation, and with those that follow from
    the paths of its graph. That rankings differ says little by itself: two seeds of the same training differ too. So
    the rank correlation of both trainings is held against that of two seeds.
    """

    claim = "Rankings of architectures in benchmarks can be easily changed by better training of each architecture."
    source = Source(
        "W. Chen et al., Principled Architecture-aware Scaling of Hyperparameters (ICLR 2024)",
        "2402.17440",
        "Rules and constants are verified with the published code; the paper's correlations are recalled.",
    )
    needs = (
        "CIFAR-10, by `dnal data` or as a file (scaling:data=cifar10.npz); the tiny size takes scikit-learn's digits. "
        "The 20 cells and their published accuracies are in the file; the whole table is NAS-Bench-201's."
    )
    differs = (
        "20 cells, one per stage instead of five, images of 16x16, a few epochs on a part of the data. The table has "
        "test accuracies only. Paths are those of a cell, as in the published code; initial weights follow from the "
        "whole network."
    )
    sizes = Sizes(
        tiny=Size(2, "seconds", {"data": "digits", "images": 200, "side": 8, "epochs": 1, "cells": 4}),
        small=Size(3, "an hour"),
        paper=Size(3, "weeks", {"images": 45_000, "side": 32, "epochs": 200}),
    )
    data: str = option("cifar10", "A name of `dnal data`, or a file.")
    images: int = option(2500, "For training.", least=100)
    side: int = option(16, "Height and width of the images.", least=8)
    epochs: int = option(8, "Of training.", least=1)
    cells: int = option(20, "How many of the 20.", least=2, most=20)

    def settings(self) -> Sequence[Setting]:
        chosen = list(CELLS)[:: max(1, len(CELLS) // self.cells)][: self.cells]
        return [{"cell": cell, "training": training} for cell in chosen for training in TRAININGS]

    def row(self, seed: int, cell: str, training: str) -> dict[str, Any]:
        loaders = image_loaders(self.data, self.images, self.side, seed)
        first = next(iter(loaders.val))[0][:2]
        torch.manual_seed(seed)
        network, rate = CellNetwork(cell, first.shape[1], 10), DEFAULT_RATE
        if training == "scaled":
            initialise(network, paths(network, first))
            rate = BASE_RATE * factor(cell)
        _train(network, loaders, self.epochs, rate)
        return {
            "lr": round(rate, 5), "accuracy": round(accuracy(network, loaders.test), 4), "published": CELLS[cell],
        }  # fmt: skip

    def checks(self, rows: Sequence[Row]) -> list[Check]:
        of = {
            training: {
                (row["cell"], row["seed"]): 100 * float(row["accuracy"])
                for row in rows if row["training"] == training
            }
            for training in TRAININGS
        }  # fmt: skip
        seeds = sorted({int(row["seed"]) for row in rows})
        across = {seed: _tau(_of_seed(of["default"], seed), _of_seed(of["scaled"], seed)) for seed in seeds}
        pairs = list(combinations(seeds, 2))
        within = {
            seed: mean([
                _tau(_of_seed(of[training], a), _of_seed(of[training], b))
                for a, b in pairs if seed in (a, b) for training in TRAININGS
            ]).value
            for seed in seeds
        }  # fmt: skip
        published = {
            training: {seed: _tau(_of_seed(own, seed), {str(row["cell"]): float(row["published"]) for row in rows})
                       for seed in seeds}
            for training, own in of.items()
        }  # fmt: skip
        return [
            Check(
                "the ranking changes more than from seed to seed", "Kendall's tau, of two seeds minus of two trainings",
                paired(within, across) if pairs else mean([]), above=0.0,
            ),
            Check(
                "scaled training is more accurate", "accuracy, scaled minus default, points",
                paired(of["scaled"], of["default"]), above=0.0,
            ),
            Check(
                "the ranking moves away from the published one", "Kendall's tau with the table, default minus scaled",
                paired(published["default"], published["scaled"]), above=0.0,
            ),
        ]  # fmt: skip

    def figure(self, rows: Sequence[Row]) -> Figure:
        wide: dict[tuple[Any, Any], Row] = {}
        for row in rows:
            own = wide.setdefault((row["cell"], row["seed"]), {"cell": f"cell {row['cell']}", "seed": row["seed"]})
            own[str(row["training"])] = row["accuracy"]
        return dots(
            list(wide.values()), ["cell"], {"default": "default training", "scaled": "scaled training"},
            what="accuracy on the test data",
            caption="Cells by their published accuracy, the least above. A dot is a seed, a line the mean.",
        )  # fmt: skip

    def imagined(self, row: Row, holds: bool) -> Row:
        rank = list(CELLS).index(str(row["cell"]))
        noise = 1e-4 * ((int(row["seed"]) + rank) % 3)
        if row["training"] == "default":
            return row | {"accuracy": 0.5 + 0.01 * rank}
        return row | {"accuracy": (0.9 - 0.01 * rank + noise) if holds else 0.4 + 0.01 * rank + noise}


class CellNetwork(nn.Module):
    """A network of NAS-Bench-201's shape with one cell per stage: 16, 32 and 64 channels, halved by residual blocks.

    Args:
        cell: the operation of each of the six edges, such as "3-0-0-2-0-0": 0 none, 1 skip, 2 and 3 a convolution of
            side 1 or 3 between ReLU and batch norm, 4 average pooling.
    """

    def __init__(self, cell: str, in_channels: int, classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(in_channels, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16))
        self.stages = nn.Sequential(_Cell(cell, 16), _Halving(16), _Cell(cell, 32), _Halving(32), _Cell(cell, 64))
        self.norm, self.head = nn.BatchNorm2d(64), nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(F.relu(self.norm(self.stages(self.stem(x)))).mean((2, 3)))
        return logits


class _Cell(nn.Module):
    def __init__(self, cell: str, channels: int) -> None:
        super().__init__()
        self.edges = nn.ModuleDict()
        for (start, end), code in zip(EDGES, map(int, cell.split("-")), strict=True):
            if code == SKIP:
                self.edges[f"{start}{end}"] = nn.Identity()
            elif code == POOL:
                self.edges[f"{start}{end}"] = nn.AvgPool2d(3, 1, 1, count_include_pad=False)
            elif code != NONE:
                self.edges[f"{start}{end}"] = _convolution(channels, channels, 1 if code == CONV1 else 3)

    def forward(self, x: Tensor) -> Tensor:
        nodes: list[Tensor | None] = [x, None, None, None]
        for start, end in EDGES:
            before, so_far = nodes[start], nodes[end]
            if before is not None and f"{start}{end}" in self.edges:
                term = self.edges[f"{start}{end}"](before)
                nodes[end] = term if so_far is None else so_far + term
        assert nodes[3] is not None
        return nodes[3]


class _Halving(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _convolution(channels, 2 * channels, 3, 2)
        self.second = _convolution(2 * channels, 2 * channels, 3)
        self.around = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(channels, 2 * channels, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.around(x) + self.second(self.first(x))
        return out


def _convolution(before: int, after: int, side: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.ReLU(), nn.Conv2d(before, after, side, stride, side // 2, bias=False), nn.BatchNorm2d(after)
    )


def lengths(cell: str) -> list[int]:
    """Of each path through a cell one more than its convolutions, as the published code counts them.

    >>> lengths("3-0-0-2-0-0")  # input to vertex 3 by a 1x1 convolution alone
    [2]
    """
    found: dict[int, list[int]] = {0: [1], 1: [], 2: [], 3: []}
    for (start, end), code in zip(EDGES, map(int, cell.split("-")), strict=True):
        if code != NONE:
            found[end] += [length + (code in (CONV1, CONV3)) for length in found[start]]
    return found[3]


def factor(cell: str) -> float:
    """The learning rate over that of a path of length one: sum(L^3)^(-1/2)."""
    return 1 / math.sqrt(sum(length**3 for length in lengths(cell)))


def _train(network: nn.Module, loaders: Loaders, epochs: int, peak: float) -> None:
    """SGD with Nesterov momentum and one cosine, as in the benchmark."""
    optimizer = torch.optim.SGD(network.parameters(), peak, momentum=0.9, nesterov=True, weight_decay=5e-4)
    steps = epochs * len(loaders.train)
    rates = (cosine(step / steps, peak) for step in range(steps))
    for loss in plain_steps(network, optimizer, rates, endless(loaders.train)):
        if not math.isfinite(loss):
            return


def _of_seed(values: dict[tuple[Any, Any], float], seed: int) -> dict[str, float]:
    return {str(cell): value for (cell, own), value in values.items() if own == seed}


def _tau(ours: dict[str, float], theirs: dict[str, float]) -> float:
    both = [cell for cell in ours if cell in theirs]
    if len(both) < 2:
        return math.nan
    return float(stats.kendalltau([ours[cell] for cell in both], [theirs[cell] for cell in both]).statistic)
