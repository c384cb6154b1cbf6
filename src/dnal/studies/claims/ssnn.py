"""Does the graph that a program gives to a network tell how well it generalises?"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dnal import data
from dnal.base.errors import UserError
from dnal.base.options import option
from dnal.base.statistics import mean_of_known, paired, spearman
from dnal.data.npz import read_arrays
from dnal.models.symbolic.encoder import PatchEncoder
from dnal.models.symbolic.graph import PortGraph
from dnal.models.symbolic.head import GraphHead
from dnal.models.symbolic.population import Individual, evolve
from dnal.models.symbolic.random_graph import random_graph
from dnal.studies.check import Check
from dnal.studies.figures import dots, number
from dnal.studies.study import Row, Setting, Size, Sizes, Source, Study

if TYPE_CHECKING:
    from dnal.report.figure import Figure

PUZZLES, DIGITS = "puzzles", "digits"
PROGRAMS, RANDOM, ONE, NONE = "programs", "random graphs", "one graph", "no graph"
DIGITS_SOONER = 3
"""For one of so many epochs digits are trained: after all of them every network fits all of its digits."""
WITHOUT = "none"
"""Instead of a file: without puzzles."""
LR = 0.001
BEST = 3
"""One of so many programs is chosen by its training accuracy."""


@dataclass(frozen=True)
class GraphsModulateGeneralisation(Study):
    """Among networks with different graphs of programs, those that fit their training data better generalise better.

    Programs are searched for over several rounds, selected by training accuracy alone. Every network that was trained
    on the way counts, and each program is trained once more with another seed. As many networks are trained for each
    control: with random graphs of the same numbers of nodes and edges, with one graph (the programs' median one by
    size) and other seeds, and the encoder alone with other seeds. A row is a search, or its control, on one draw of
    the training images.
    """

    claim = (
        "Which graph is given to a network by a program modulates how well it generalises, in a way that its training "
        "accuracy tells; over networks without a graph the two have nothing to do with each other."
    )
    source = Source(
        "E. Whitehouse, Symbolic Synthesis of Neural Networks (2023)",
        "2303.03340",
        "Language, search and network are verified with the author's code, the claim is worded after the files of "
        "results in it: correlations of .63 to .74 over programs and of .04 without a graph. The paper's text was not "
        "seen; title, author and year are recalled.",
    )
    needs = (
        "The digits, which scikit-learn brings, and matrix puzzles made with raven-gen (PyPI), as an .npz with `x`, "
        "(N, 64, 64) of 8 bits, and `constant_colour`, (N,), 1 where a part has one colour in every row: "
        "`ssnn:puzzles=raven64.npz`, here 166 puzzles of each of 8 layouts."
    )
    differs = (
        "Puzzles of 64 instead of 128 pixels, a small encoder, 64 instead of 512 features, a population of 10 instead "
        "of 50; digits too, with a dense encoder; searches end by a number of programs instead of seconds, with larger "
        "steps of probabilities; two faults of the published head are mended; programs are trained twice, and random "
        "graphs and one graph are controls."
    )
    sizes = Sizes(
        tiny=Size(2, "seconds", {"puzzles": WITHOUT, "images": 30, "held": 60, "epochs": 1, "features": 32, "width": 8,
                                 "population": 3, "keep": 2, "rounds": 3, "tries": 13_000}),
        small=Size(6, "20 minutes of one core"),
        paper=Size(5, "days", {"features": 512, "width": 256, "epochs": 16, "population": 50, "keep": 25,
                               "tries": 2_000_000, "contrast": 0.5}),
    )  # fmt: skip
    puzzles: str = option("raven64.npz", "The file with the puzzles; none: without them.")
    images: int = option(128, "For training.", least=20)
    held: int = option(1200, "For validation, at most.", least=20)
    epochs: int = option(12, "For which networks of puzzles are trained; those of digits for a third.", least=1)
    batch: int = option(8, "Images of a step.", least=1)
    features: int = option(64, "That the graph is given; a multiple of 4.", least=32)
    width: int = option(32, "Of the encoder of puzzles; a multiple of 4.", least=4)
    population: int = option(10, "Programs of a round.", least=2)
    keep: int = option(5, "Of them that stay for the next one.", least=1)
    rounds: int = option(5, "Of the search.", least=1)
    tries: int = option(30_000, "Programs that a round runs, at most.", least=1)
    contrast: float = option(2.0, "How much likelier operations become; the logarithm of a ratio.", above=0)

    def settings(self) -> Sequence[Setting]:
        names = (DIGITS,) if self.puzzles == WITHOUT else (PUZZLES, DIGITS)
        return [{"data": name, "networks": each} for name in names for each in (PROGRAMS, RANDOM, ONE, NONE)]

    def together(self, setting: Setting, seed: int) -> Hashable:
        return setting["data"], seed

    def row(self, seed: int, data: str, networks: str) -> dict[str, Any]:
        found = _searched(self, data, seed)
        graphs = [one.found.graph for one in found]
        if networks == PROGRAMS:
            fits = [one.trained for one in found]
            again = [_fit(self, data, graph, seed, 10_000 + nth) for nth, graph in enumerate(graphs)]
            return _told(fits) | _told_of_programs(found, again)
        draw = random.Random(seed)
        others: dict[str, Callable[[int], PortGraph | None]] = {
            RANDOM: lambda nth: random_graph(len(graphs[nth].nodes), len(graphs[nth].edges), draw),
            ONE: lambda nth: sorted(graphs, key=lambda graph: graph.elements)[len(graphs) // 2],
            NONE: lambda nth: None,
        }
        first = 20_000 + 10_000 * list(others).index(networks)
        return _told([_fit(self, data, others[networks](nth), seed, first + nth) for nth in range(len(found))])

    def checks(self, rows: Sequence[Row]) -> list[Check]:
        def of(networks: str, column: str) -> dict[Hashable, float]:
            own = {(row["data"], row["seed"]): number(row, column) for row in rows if row["networks"] == networks}
            return {key: value for key, value in own.items() if not math.isnan(value)}

        def more(column: str, other: str) -> Any:
            return paired(of(PROGRAMS, column), of(other, column))

        correlation = "rank correlation of training and validation accuracy"
        return [
            Check("training accuracy tells validation accuracy", f"{correlation}, over programs",
                  mean_of_known(of(PROGRAMS, "correlation").values()), above=0.0),
            *(Check(f"more than over networks with {other}", f"{correlation}, over programs minus with {other}",
                    more("correlation", other), above=0.0) for other in (NONE, ONE)),
            Check("control: more than over random graphs of the same sizes",
                  f"{correlation}, over programs minus over random graphs", more("correlation", RANDOM), above=0.0),
            Check("programs differ more than seeds do",
                  "standard deviation of validation accuracy, over programs minus over seeds of one graph, points",
                  more("spread", ONE), above=0.0),
            Check("a program does alike again", "rank correlation of validation accuracies of two trainings",
                  mean_of_known(of(PROGRAMS, "again").values()), above=0.0),
            Check("those chosen by training accuracy generalise better",
                  "validation accuracy in another training, the best third minus all, points",
                  mean_of_known(of(PROGRAMS, "chosen").values()), above=0.0),
            Check("programs found later train better", "training accuracy, later half minus earlier half, points",
                  mean_of_known(of(PROGRAMS, "progress").values()), above=0.0),
            Check("control: programs are better than random graphs of the same sizes",
                  "mean validation accuracy, programs minus random graphs, points", more("val", RANDOM), above=0.0),
        ]  # fmt: skip

    def figure(self, rows: Sequence[Row]) -> Figure:
        return dots(
            rows, ["data", "networks"], "correlation", what="rank correlation of training and validation accuracy",
            caption="A dot is a search or its control, an upright line the mean: how far networks that do better on "
            "their training data do better on validation data. Accuracies of every network are in the rows.",
        )  # fmt: skip

    def imagined(self, row: Row, holds: bool) -> Row:
        sign, noise = 1.0 if holds else -1.0, 0.001 * (int(row["seed"]) % 3)
        if row["networks"] != PROGRAMS:
            return row | {"correlation": 0.0, "val": 60.0, "spread": 3.0}
        values = {"correlation": 0.5, "again": 0.5, "chosen": 2.0, "progress": 4.0}
        own = {name: sign * (value + noise) for name, value in values.items()}
        return row | own | {"val": 60.0 + sign * (5.0 + noise), "spread": 3.0 + sign * (1.0 + noise)}


@dataclass(frozen=True)
class Fit:
    """Accuracies of a trained network, %."""

    train: float
    val: float


def _told(fits: Sequence[Fit]) -> dict[str, Any]:
    """Of a group of networks: means, spread (points), and how their accuracies go together."""
    vals = [fit.val for fit in fits]
    return {
        "number": len(fits), "train": round(statistics.fmean(fit.train for fit in fits), 2),
        "val": round(statistics.fmean(vals), 2), "spread": round(statistics.stdev(vals), 3) if vals[1:] else math.nan,
        "least": min(vals), "most": max(vals), "correlation": _correlation([fit.train for fit in fits], vals),
        "all": " ".join(f"{fit.train:g}:{fit.val:g}" for fit in fits),
    }  # fmt: skip


def _told_of_programs(found: Sequence[Individual[Fit]], again: Sequence[Fit]) -> dict[str, Any]:
    order = sorted(range(len(found)), key=lambda nth: -found[nth].trained.train)
    best = order[: math.ceil(len(order) / BEST)]
    chosen = statistics.fmean(again[nth].val for nth in best) - statistics.fmean(fit.val for fit in again)
    trains, half = [one.trained.train for one in found], len(found) // 2
    return {
        "again": _correlation([one.trained.val for one in found], [fit.val for fit in again]),
        "chosen": round(chosen, 3),
        "progress": round(statistics.fmean(trains[-half:]) - statistics.fmean(trains[:half]), 3) if half else math.nan,
        "elements": round(statistics.fmean(one.found.graph.elements for one in found), 2),
        "largest": max(one.found.graph.elements for one in found),
        "all_again": " ".join(f"{fit.train:g}:{fit.val:g}" for fit in again),
        "found_in": " ".join(str(one.round) for one in found),
    }


def _correlation(ours: Sequence[float], theirs: Sequence[float]) -> float:
    return round(spearman(ours, theirs).value, 4)


@lru_cache(maxsize=1)
def _searched(study: GraphsModulateGeneralisation, data: str, seed: int) -> list[Individual[Fit]]:
    """Every program whose network was trained, in the order in which they were found."""
    fits: list[Fit] = []

    def train(graph: PortGraph, own: int) -> Fit:
        fits.append(_fit(study, data, graph, seed, own))
        return fits[-1]

    rounds = evolve(
        train, seed=0, population=study.population, keep=study.keep, rounds=study.rounds, tries=study.tries,
        elements=study.features // 4, contrast=study.contrast,
    )  # fmt: skip
    if not fits:
        raise UserError("no program among those tried builds a graph; give more `tries`.")
    found = {id(one.trained): one for own in rounds for one in own.population}
    return [found[id(fit)] for fit in fits]


def _fit(study: GraphsModulateGeneralisation, data: str, graph: PortGraph | None, seed: int, own: int) -> Fit:
    """Trains a network with a graph, or the encoder alone. ``seed``: of the images, ``own``: of the network."""
    x, y, new_x, new_y = _images(data, study.puzzles, study.images, study.held, seed)
    side, classes = x.shape[-1], int(y.max()) + 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1_000_000 * seed + own)
        outputs = classes if graph is None else study.features
        network = nn.Sequential(_encoder(study, data, side, outputs))
        if graph is not None:
            network.append(GraphHead(graph, features=study.features, classes=classes))
        optimizer = torch.optim.Adam(network.parameters(), LR)
        schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=50, cooldown=15)
        for _ in range(study.epochs if data == PUZZLES else max(1, study.epochs // DIGITS_SOONER)):
            for batch in torch.randperm(len(x)).split(study.batch):
                optimizer.zero_grad()
                loss = F.cross_entropy(network(x[batch]), y[batch])
                loss.backward()
                optimizer.step()
                schedule.step(float(loss.detach()))
    network.eval()
    return Fit(_accuracy(network, x, y), _accuracy(network, new_x, new_y))


def _encoder(study: GraphsModulateGeneralisation, data: str, side: int, outputs: int) -> nn.Module:
    if data == PUZZLES:
        return PatchEncoder(side=side, features=outputs, width=study.width)
    # Of 128 digits the other one learns next to nothing in this time.
    return nn.Sequential(nn.Flatten(), nn.Linear(side * side, 2 * study.features), nn.ReLU(),
                         nn.Linear(2 * study.features, outputs))  # fmt: skip


def _accuracy(network: nn.Module, x: Tensor, y: Tensor) -> float:
    with torch.inference_mode():
        right = sum(int((network(a).argmax(1) == b).sum()) for a, b in zip(x.split(200), y.split(200), strict=True))
    return round(100 * right / len(x), 3)


@lru_cache(maxsize=2)
def _images(name: str, puzzles: str, number: int, held: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images to train on and others, (N, 1, H, W), and their classes; which are which follows from the seed."""
    x, y = _digits() if name == DIGITS else _puzzles(Path(puzzles))
    if len(x) < number + 20:
        raise UserError(f"{number} images for training leave fewer than 20 of {len(x)} for validation; give fewer.")
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    ours, others = order[:number], order[number : number + held]
    scale, shift = x[ours].std(), x[ours].mean()
    return (x[ours] - shift) / scale, y[ours], (x[others] - shift) / scale, y[others]


def _digits() -> tuple[Tensor, Tensor]:
    loaded = data.load("digits", augment=False)
    parts = [part.batch(torch.arange(len(part)), 0) for part in (loaded.train, loaded.val, loaded.test)]
    return torch.cat([inputs for inputs, _ in parts]), torch.cat([targets for _, targets in parts])


def _puzzles(path: Path) -> tuple[Tensor, Tensor]:
    """
    Raises:
        UserError: it is no file of puzzles.
    """
    found = read_arrays(path, ("x", "constant_colour"))
    x, y = found["x"], found["constant_colour"]
    if x.ndim != 3 or x.shape[1] != x.shape[2] or x.shape[1] % 8 or x.dtype != np.uint8:
        raise UserError(
            f"the puzzles x of '{path}' are (N, side, side) of 8 bits, with a side that is a multiple of 8."
        )
    if y.shape != x.shape[:1] or not np.isin(y, (0, 1)).all():
        raise UserError(f"constant_colour of '{path}' is 0 or 1 for each puzzle.")
    return torch.from_numpy(x).float()[:, None] / 255, torch.from_numpy(y.astype(np.int64))
