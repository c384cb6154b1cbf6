"""Does taking negative weights first keep the neurons of a sparse network alive, and is the network better for it?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnal.base.options import option
from dnal.base.statistics import paired
from dnal.methods.sparsity.dead_neurons import dead_neurons
from dnal.methods.sparsity.masks import kept, of_round
from dnal.methods.sparsity.rounds import MagnitudeMasks, Pruning
from dnal.space.space import Space
from dnal.studies.check import Check
from dnal.studies.figures import curves, number
from dnal.studies.images import dataset_of, image_loaders
from dnal.studies.study import Row, Setting, Size, Sizes, Source, Study
from dnal.studies.tickets import Trained, Training, kept_shares, matrices
from dnal.train.evaluate import accuracy
from dnal.train.phase import Phase

if TYPE_CHECKING:
    from dnal.report.figure import Figure

MAGNITUDE, NEGATIVE, POSITIVE, GOES_ON = "magnitude", "negative", "positive", "negative, no rewind"
KINDS = (MAGNITUDE, NEGATIVE, POSITIVE, GOES_ON)
SHARE = 0.1
"""Of what a round takes are weights of one sign: 2 of the 20 % of the paper."""
FEW = 0.11
"""The share of the weights below which dead rates are compared, chosen before any row was made."""
PROMISED = 3.0
"""Points of accuracy, of the abstract."""


@dataclass(frozen=True)
class NegativeWeightsSilence(Study):
    """Fewer neurons are dead where a part of what leaves are negative weights, and the network is more accurate.

    Each kind is a chain of rounds from one start: train, mask a fifth of what is left, put the weights back, train
    again. All take as many weights in a round. "magnitude" takes the smallest; "negative" takes a tenth of them among
    the negative weights that moved least; "positive" is the ablation, which takes positive ones; the last does not put
    weights back, so that what it keeps was trained for all rounds. A neuron is dead for an image for which its ReLU
    gives 0; those that have no weights left are counted apart. The network sees pixels from 0 to 1, so that all that
    its layers read is not negative.
    """

    claim = (
        "The more a network is pruned, the fewer neurons are dead; activating more of them by pruning negative weights "
        "and rewinding makes any pruning better, by 3 to 4 points on CIFAR-10 and CIFAR-100."
    )
    source = Source(
        "S. Liu, R. Ghosh, C. H. M. Tan, M. Motani, Optimizing Network Pruning by Selective Activation (AP, TMLR 2023)",
        "2212.06145",
        "Abstract and published code are read; the definition of the dead rates, for which there is no code, is "
        "recalled. Shares of all units, as far as is known; those of units that have weights are in the rows too.",
    )
    needs = (
        "Fashion-MNIST: `data=fashion-mnist` downloads it, `data=FILE.npz` is a copy; the tiny size takes "
        "scikit-learn's digits."
    )
    differs = (
        "A perceptron with two hidden layers on 5,000 images of Fashion-MNIST for four epochs a round instead of "
        "ResNets on CIFAR-10 for fifty."
    )
    sizes = Sizes(
        tiny=Size(2, "seconds", {"data": "digits", "images": 600, "side": 8, "epochs": 2, "rounds": 3, "keep": 0.1}),
        small=Size(5, "15 minutes of one core"),
        paper=Size(10, "days", {"data": "cifar10", "images": 45_000, "side": 32, "epochs": 50, "rounds": 25}),
    )
    data: str = option("fashion-mnist", "A name of `dnal data`, or a file.")
    images: int = option(5000, "For training.", least=50)
    side: int = option(28, "Height and width of the images.", least=8)
    epochs: int = option(4, "Of each training.", least=1)
    rounds: int = option(14, "From all weights to the share that stays.", least=1, most=50)
    keep: float = option(0.044, "Share of the weights that stays in the end.", above=0, below=1)

    def shares(self) -> list[float]:
        """Of the weights, after each round."""
        return kept_shares(self.keep, self.rounds)

    def settings(self) -> Sequence[Setting]:
        dense: list[Setting] = [{"kind": "dense", "keep": 1.0}]
        masked: list[Setting] = [{"kind": kind, "keep": share} for kind in KINDS for share in self.shares()]
        return [*dense, *masked]

    def together(self, setting: Setting, seed: int) -> Any:
        return seed

    def row(self, seed: int, kind: str, keep: float) -> dict[str, Any]:
        found = _round(self, kind, 0 if kind == "dense" else 1 + self.shares().index(keep), seed)
        loaders = image_loaders(self.data, self.images, self.side, seed)
        example = next(iter(loaders.test))[0][:2]
        dead = dead_neurons(found.network, Space.of(found.network, example), loaders.test, found.masks)
        return {
            "accuracy": round(accuracy(found.network, loaders.test), 4), "kept": round(kept(found.masks), 5),
            "dead": round(dead.dynamic(), 5), "dead_of_alive": round(dead.dynamic("alive"), 5),
            "static": round(dead.static, 5),
        }  # fmt: skip

    def checks(self, rows: Sequence[Row]) -> list[Check]:
        few = [row for row in rows if float(row["keep"]) < FEW]
        last = min((float(row["keep"]) for row in rows), default=0.0)

        def of(kind: str, figure: str, factor: float = 1.0) -> dict[int, float]:
            own = [row for row in few if row["kind"] == kind]
            seeds = {int(row["seed"]) for row in own}
            by_seed = {seed: [number(row, figure) for row in own if int(row["seed"]) == seed] for seed in seeds}
            return {seed: factor * sum(values) / len(values) for seed, values in by_seed.items()}

        dense = {int(row["seed"]): number(row, "dead") for row in rows if row["kind"] == "dense"}
        end = {int(r["seed"]): number(r, "dead") for r in rows if r["kind"] == MAGNITUDE and float(r["keep"]) == last}
        where = f"below {100 * FEW:g} % of the weights"
        points = paired(of(NEGATIVE, "accuracy", 100), of(MAGNITUDE, "accuracy", 100))
        return [
            Check("fewer neurons are dead as weights leave", "share of dead neurons, sparse minus dense",
                  paired(end, dense), below=0.0),
            Check("fewer where negative weights leave", f"share of dead neurons, negative minus magnitude, {where}",
                  paired(of(NEGATIVE, "dead"), of(MAGNITUDE, "dead")), below=0.0),
            Check("more where positive weights leave", f"share of dead neurons, positive minus magnitude, {where}",
                  paired(of(POSITIVE, "dead"), of(MAGNITUDE, "dead")), above=0.0),
            Check("the network is more accurate for it", f"accuracy, negative minus magnitude, points, {where}",
                  points, above=0.0),
            Check("by three points", f"accuracy, negative minus magnitude, points, {where}",
                  points, above=PROMISED),
            Check("putting weights back is a part of it", f"accuracy, negative minus the same without, points, {where}",
                  paired(of(NEGATIVE, "accuracy", 100), of(GOES_ON, "accuracy", 100)), above=0.0),
        ]  # fmt: skip

    def figure(self, rows: Sequence[Row]) -> Figure:
        whole = [{**row, "kind": kind} for row in rows if row["kind"] == "dense" for kind in KINDS]
        own = [{**row, "percent": 100 * float(row["keep"])} for row in (*whole, *rows) if row["kind"] != "dense"]
        what = ("weights that stay, %", "share of dead neurons, of all")
        return curves(own, "percent", "dead", ["kind"], what=what, log=True)

    def imagined(self, row: Row, holds: bool) -> Row:
        noise, sign = 0.001 * (int(row["seed"]) % 3), 1 if holds else -1
        ahead = {NEGATIVE: 1, POSITIVE: -1, GOES_ON: -1}.get(str(row["kind"]), 0)
        dead = 0.4 + noise + (0.2 * sign if row["kind"] == "dense" else -0.05 * sign * ahead)
        return row | {"dead": dead, "accuracy": 0.7 + noise + 0.05 * sign * ahead}


class Pixels(nn.Module):
    """Images as they were before their mean and deviation were taken out: from 0 to 1."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.std + self.mean


@lru_cache(maxsize=128)
def _round(study: NegativeWeightsSilence, kind: str, number: int, seed: int) -> Trained:
    """The network of a kind after a round, of which 0 is the dense one; rounds follow from one another."""
    training = Training(
        network=lambda own: _network(study, own),
        batches=lambda own: image_loaders(study.data, study.images, study.side, own).train,
        phase=Phase("base", study.epochs, 0.05, 0.05), loss=F.cross_entropy, weights=matrices, early=0.0,
    )  # fmt: skip
    if not number:
        return training.run(seed)
    before, dense = _round(study, kind if number > 1 else "dense", number - 1, seed), _round(study, "dense", 0, seed)
    activating = 0.0 if kind == MAGNITUDE else SHARE
    method = MagnitudeMasks(
        keep=study.keep, rounds=study.rounds, activating=activating, sign="positive" if kind == POSITIVE else "negative"
    )
    share = of_round(study.keep, number, study.rounds)
    masks = method.pruned(Pruning(matrices(before.network), share, before.masks, torch.Generator(), before.early))
    start = before.network.state_dict() if kind == GOES_ON else dense.early
    return training.run(seed, masks, start)


def _network(study: NegativeWeightsSilence, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    dataset = dataset_of(study.data, study.images, study.side)
    features = int(torch.Size(dataset.input_shape).numel())
    network = nn.Sequential(
        Pixels(dataset.mean, dataset.std), nn.Flatten(), nn.Linear(features, 300), nn.ReLU(), nn.Linear(300, 100),
        nn.ReLU(), nn.Linear(100, dataset.classes),
    )  # fmt: skip
    for layer in network:
        if isinstance(layer, nn.Linear):  # as in the published code
            nn.init.xavier_normal_(layer.weight)
            nn.init.zeros_(layer.bias)
    return network
