"""Do a network's weights tell its accuracy, and is a predictor that knows their symmetries worth it?"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dnal.base.options import option
from dnal.base.statistics import mean_of_known, paired
from dnal.data.images.arrays import RawArrays
from dnal.data.images.digits import read_digits
from dnal.predictors import PREDICTORS, Chain, Perceptron, Predictor
from dnal.predictors.correlation import tau
from dnal.predictors.weights.of_weights import OfWeights
from dnal.predictors.zoo.folder import Zoo, make_zoo, read_zoo
from dnal.predictors.zoo.recipe import Recipe
from dnal.studies.check import Check
from dnal.studies.figures import dots, number
from dnal.studies.study import Row, Setting, Size, Sizes, Source, Study

if TYPE_CHECKING:
    from dnal.report.figure import Figure

WITHIN, DATA, SHAPE = "within", "other data", "other architecture"
STATISTICS, FLAT, SHUFFLED = "statistics", "MLP, flat weights", "statistics, shuffled labels"
TRANSFORMER, GRAPH, SETS = "Neural Graphs, transformer", "Neural Graphs, graph network", "SNE"
MODELS = {
    STATISTICS: "statistics", FLAT: "", TRANSFORMER: "neural-graph", GRAPH: "neural-graph:network=graph", SETS: "sne",
    SHUFFLED: "statistics",
}  # fmt: skip
"""The control of shuffled labels comes last."""
ONE = {"widths": (12,), "depths": (2,), "activations": ("relu",)}
OTHER = {"widths": (8, 16), "depths": (3,), "activations": ("relu", "tanh")}
TESTED = 1 / 3
"""Of the networks of a zoo."""
TURNED = "dnal.studies.claims.weights:turned_digits"


def turned_digits() -> RawArrays:
    """The digits on their side, white on black turned black on white: other images, which need no download."""
    raw = read_digits(None)
    x_train, x_test = (np.ascontiguousarray(np.rot90(1 - one, axes=(1, 2))) for one in (raw.x_train, raw.x_test))
    return RawArrays(x_train, raw.y_train, x_test, raw.y_test)


@dataclass(frozen=True)
class WeightsTellAccuracy(Study):
    """Neural Graphs and SNE rank trained networks by their weights better than statistics of the weights do.

    Zoos of small convolutional networks on grey images of 8 x 8, with two hidden layers of 12 channels, which differ in
    start, learning rate, weight decay, training images and length. Kendall's tau between test accuracy and what is
    predicted of networks that were not learnt from: of the same zoo, of a zoo on other data, and of a zoo of three
    hidden layers of 8 or 16 channels, some with tanh. A predictor learns from one zoo alone. Baselines are statistics
    of each layer with boosting, and a perceptron over all weights, which reads one architecture alone. The control
    learns from shuffled labels.
    """

    claim = (
        "A network's weights tell its accuracy. Encodings that respect the order of neurons rank networks better than "
        "statistics of the weights within a data set (Neural Graphs), and across data sets and architectures (SNE)."
    )
    source = Source(
        "M. Kofinas et al., Graph Neural Networks for Learning Equivariant Representations of Neural Networks (ICLR "
        "2024); B. Andreis et al., Set-based Neural Network Encoding Without Weight Tying (NeurIPS 2024)",
        "2403.12143",
        "Layers and training of the first are verified with its code; of the second (arXiv 2305.16625) the equations, "
        "with captions and reviews; all taus are recalled (.935 for Neural Graphs and .915 for statistics on networks "
        "for CIFAR-10).",
    )
    needs = (
        "fashion-mnist and cifar10, which `dnal data` lists, or files, as weights:data=digits/mnist.npz/cifar10.npz; "
        "the tiny size needs nothing."
    )
    differs = (
        "A few hundred small networks on images of 8 x 8 instead of thousands on whole ones; predictors of a quarter "
        "of the size, trained for minutes, on ranks of accuracies."
    )
    sizes = Sizes(
        tiny=Size(2, "seconds", {"data": ("digits", TURNED), "networks": 12, "steps": 20, "images": 60, "epochs": 1}),
        small=Size(3, "half an hour on a core", {}),
        paper=Size(5, "days on two cores", {"networks": 3000, "steps": 5000, "images": 50_000, "epochs": 300}),
    )  # fmt: skip
    data: tuple[str, ...] = option(("digits", "fashion-mnist", "cifar10"), "Two sets of images or more.")
    networks: int = option(210, "Of a zoo; two thirds are learnt from.", least=12)
    steps: int = option(600, "Of the training of a network, at most.", least=20)
    images: int = option(2000, "To train a network on, at most.", least=20)
    epochs: int = option(
        25, "Of the training of SNE; Neural Graphs, which take less time, train twice as many.", least=1
    )

    def settings(self) -> Sequence[Setting]:
        found: list[Setting] = []
        for learnt in self.data:
            pairs = [(WITHIN, learnt), *((DATA, other) for other in self.data if other != learnt)]
            pairs += [(SHAPE, learnt)] if learnt == self.data[0] else []
            found += [
                {"part": part, "learnt": learnt, "tested": tested, "model": model}
                for model in MODELS for part, tested in pairs if not (part == SHAPE and model == FLAT)
            ]  # fmt: skip
        return found

    def together(self, setting: Setting, seed: int) -> Hashable:
        """The zoos of a seed are made once."""
        return seed

    def row(self, seed: int, part: str, learnt: str, tested: str, model: str) -> dict[str, Any]:
        zoo = _zoo(self, tested, part == SHAPE, seed)
        chosen = _apart(zoo, seed)[1] if part == WITHIN else np.arange(len(zoo.networks))
        begun = time.process_time()
        predictor = _learnt(self, learnt, model, seed)
        seconds = time.process_time() - begun
        given = [zoo.networks[row] for row in chosen]
        said = predictor.predict(_flat(given) if model == FLAT else given)
        return {"tau": round(tau(said, zoo.accuracy[chosen]), 5), "networks": len(chosen),
                "cpu_seconds": round(seconds, 1)}  # fmt: skip

    def checks(self, rows: Sequence[Row]) -> list[Check]:
        def of(part: str, model: str) -> dict[tuple[Any, ...], float]:
            found = {
                (row["learnt"], row["tested"], row["seed"]): number(row, "tau")
                for row in rows
                if (row["part"], row["model"]) == (part, model)
            }
            return {key: value for key, value in found.items() if not np.isnan(value)}

        gap = "tau, difference of the same zoos"
        graphs = {TRANSFORMER: "the transformer", GRAPH: "the graph network"}
        checks = [
            Check("statistics of weights tell accuracy within a data set", "tau of statistics",
                  mean_of_known(list(of(WITHIN, STATISTICS).values())), above=0.4),
            Check("SNE ranks better than statistics within a data set", gap,
                  paired(of(WITHIN, SETS), of(WITHIN, STATISTICS)), above=0.0),
        ]  # fmt: skip
        for model, name in graphs.items():
            checks += [
                Check(f"{name} of Neural Graphs ranks better than {other} within a data set", gap,
                      paired(of(WITHIN, model), of(WITHIN, than)), above=0.0)
                for other, than in (("statistics", STATISTICS), ("a perceptron over flat weights", FLAT))
            ]  # fmt: skip
            checks.append(Check(f"{name} of Neural Graphs tells accuracy on another architecture", "its tau",
                                mean_of_known(list(of(SHAPE, model).values())), above=0.0))  # fmt: skip
        checks += [
            Check(f"SNE ranks better than statistics on {part}", gap, paired(of(part, SETS), of(part, STATISTICS)),
                  above=0.0)
            for part in (DATA, SHAPE)
        ]  # fmt: skip
        checks.append(Check("control: shuffled labels tell nothing", "tau within a data set",
                            mean_of_known(list(of(WITHIN, SHUFFLED).values())), above=-0.2, below=0.2))  # fmt: skip
        return checks

    def figure(self, rows: Sequence[Row]) -> Figure:
        return dots(
            rows, ["model", "part"], "tau", what="Kendall's tau",
            caption="A dot is a pair of zoos with a seed: one that was learnt from, and one whose accuracies are "
            "predicted. An upright line is the mean.",
        )  # fmt: skip

    def imagined(self, row: Row, holds: bool) -> Row:
        order = [STATISTICS, FLAT, GRAPH, TRANSFORMER, SETS]
        noise = 0.001 * (int(row["seed"]) % 3)
        if row["model"] == SHUFFLED:
            return row | {"tau": noise if holds else 0.5 + noise}
        place = order.index(str(row["model"]))
        return row | {"tau": (0.5 + 0.1 * place if holds else 0.2 - 0.2 * place) + (place > 1) * noise}


@lru_cache(maxsize=8)
def _zoo(study: WeightsTellAccuracy, data: str, other: bool, seed: int) -> Zoo:
    shapes: Any = OTHER if other else ONE
    recipe = Recipe(
        networks=study.networks, steps=study.steps, images=study.images, seed=2 * seed + other, **shapes
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        make_zoo(Path(folder) / "zoo", data, recipe)
        return read_zoo(Path(folder) / "zoo")


@lru_cache(maxsize=1)
def _learnt(study: WeightsTellAccuracy, data: str, model: str, seed: int) -> Predictor:
    """What a model learns from the networks of a zoo that are not tested."""
    zoo = _zoo(study, data, False, seed)
    own, _ = _apart(zoo, seed)
    networks, values = [zoo.networks[row] for row in own], zoo.accuracy[own]
    if model == SHUFFLED:
        values = np.random.default_rng(seed).permutation(values)
    if model == FLAT:
        return Perceptron(seed=seed).fit(_flat(networks), values)
    predictor: Predictor = PREDICTORS.read(MODELS[model]).set_params(seed=seed)
    if isinstance(predictor, OfWeights):
        predictor.set_params(epochs=study.epochs if model == SETS else 2 * study.epochs)
    predictor.fit(networks, values)
    return predictor


def _apart(zoo: Zoo, seed: int) -> tuple[Any, Any]:
    """Which networks of a zoo are learnt from, and which are tested."""
    order = np.random.default_rng(seed).permutation(len(zoo.networks))
    tested = round(TESTED * len(order))
    return order[tested:], order[:tested]


def _flat(networks: Sequence[Chain]) -> Any:
    """All weights and biases of networks of one architecture, (N, numbers)."""
    rows = [[one.ravel() for layer in each.layers for one in (layer.weight, layer.bias)] for each in networks]
    return np.stack([np.concatenate(row) for row in rows]).astype(np.float64)
