"""Do learnt scales of the initial weights make networks without batch norm train better than one factor on all?"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise, repeat
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnal.base.options import option
from dnal.base.statistics import paired
from dnal.data import Loaders
from dnal.models.kaiming import kaiming_init
from dnal.studies.check import Check
from dnal.studies.figures import dots
from dnal.studies.images import image_loaders
from dnal.studies.study import Row, Setting, Size, Sizes, Source, Study
from dnal.studies.training import plain_steps
from dnal.techniques.nio import gradcosine, learn_scales, scaled_as_one
from dnal.train.evaluate import accuracy
from dnal.train.loader import endless

if TYPE_CHECKING:
    from dnal.report.figure import Figure

NETWORKS = ("mlp", "vgg", "resnet")
STARTS = {"default": "torch's default", "kaiming": "Kaiming", "one": "one factor on all", "nio": "NIO"}
FIRST = 100
"""Steps whose loss is averaged."""
MOST = 10.0
"""The loss of a step counts as no more, and so does one that is no number."""
GAMMA = 10.0


@dataclass(frozen=True)
class ScalesOfTheStart(Study):
    """Scales learnt per weight tensor start a network without batch norm better than one factor on all weights.

    Everybody trains with SGD at each rate of a grid, and each start's best rate, by the validation data, counts. The
    control gets the same bound of the gradient's norm by one factor on all weights: where it does as well, what helps
    is the norm, and not the scales.
    """

    claim = (
        "Maximising GradCosine under a bound on the gradient norm, by scales of the initial weights, improves training "
        "and test performance over the usual initialisations."
    )
    source = Source(
        "Y. Yang et al., Towards Theoretically Inspired Neural Initialization Optimization (NeurIPS 2022)",
        "2210.05956",
        "The algorithm is verified with the published code; the paper's tables were not read.",
    )
    needs = "CIFAR-10, by `dnal data` or as a file (nio:data=cifar10.npz); the tiny size takes scikit-learn's digits."
    differs = (
        "Small networks without any norm (an MLP of 8 hidden layers, a VGG of 6 convolutions, a ResNet of 6 blocks), "
        "images of 16x16, a part of the data, some hundred steps. The control and Kaiming's start are ours."
    )
    sizes = Sizes(
        tiny=Size(
            2,
            "seconds",
            {"data": "digits", "images": 400, "side": 8, "steps": 20, "iterations": 4, "networks": "mlp", "rates": 2},
        ),
        small=Size(3, "an hour"),
        paper=Size(5, "days", {"images": 45_000, "side": 32, "steps": 20_000}),
    )
    data: str = option("cifar10", "A name of `dnal data`, or a file.")
    images: int = option(5000, "For training.", least=100)
    side: int = option(16, "Height and width of the images.", least=8)
    steps: int = option(400, "Of training.", least=1)
    iterations: int = option(100, "Of NIO.", least=1)
    networks: str = option("all", f"One of {', '.join(NETWORKS)}, or all.")
    rates: int = option(3, "Learning rates that are tried: 0.2, 0.05, 0.0125, ...", least=1)

    def settings(self) -> Sequence[Setting]:
        networks = NETWORKS if self.networks == "all" else (self.networks,)
        return [
            {"network": network, "start": start, "lr": 0.2 / 4**number}
            for network in networks for start in STARTS for number in range(self.rates)
        ]  # fmt: skip

    def together(self, setting: Setting, seed: int) -> Any:
        return setting["network"], setting["start"], seed

    def row(self, seed: int, network: str, start: str, lr: float) -> dict[str, Any]:
        loaders = image_loaders(self.data, self.images, self.side, seed)
        begun, agreement = _started(self, network, start, seed)
        trained, first, last = _trained(copy.deepcopy(begun), loaders, self.steps, lr)
        return {
            "cosine": round(agreement[0], 4), "gradient_norm": round(agreement[1], 4),
            "first_loss": round(first, 4), "last_loss": round(last, 4),
            "validation": round(accuracy(trained, loaders.val), 4),
            "accuracy": round(accuracy(trained, loaders.test), 4),
        }  # fmt: skip

    def checks(self, rows: Sequence[Row]) -> list[Check]:
        best = _best(rows)
        of = {
            start: {(network, seed): row for (network, own, seed), row in best.items() if own == start}
            for start in STARTS
        }
        accuracies = {
            start: {key: 100 * float(row["accuracy"]) for key, row in own.items()} for start, own in of.items()
        }
        losses = {start: {key: float(row["first_loss"]) for key, row in own.items()} for start, own in of.items()}
        more = [
            Check(
                f"more accurate than {STARTS[other]}", f"accuracy at the best rate, NIO minus {STARTS[other]}, points",
                paired(accuracies["nio"], accuracies[other]), above=0.0,
            )
            for other in ("default", "kaiming", "one")
        ]  # fmt: skip
        lower = [
            Check(
                f"a lower loss of the first {FIRST} steps than {STARTS[other]}",
                f"loss at the best rate, NIO minus {STARTS[other]}", paired(losses["nio"], losses[other]), below=0.0,
            )
            for other in ("default", "one")
        ]  # fmt: skip
        return [*more, *lower]

    def figure(self, rows: Sequence[Row]) -> Figure:
        return dots(
            list(_best(rows).values()), ["network", "start"], "accuracy", what="accuracy on the test data",
            caption="Each start at its best learning rate, by the validation data. A dot is a seed, a line the mean.",
        )  # fmt: skip

    def imagined(self, row: Row, holds: bool) -> Row:
        noise = 0.001 * (int(row["seed"]) % 3) + 0.002 * (len(str(row["network"])) % 3)
        better = (row["start"] == "nio") == holds
        return row | {
            "accuracy": 0.3 + 0.1 * better + (noise if better else 0), "validation": 0.3,
            "first_loss": 2.0 - 0.5 * better + (noise if better else 0),
        }  # fmt: skip


def _best(rows: Sequence[Row]) -> dict[tuple[str, str, int], Row]:
    """Of each network, start and seed the row at the rate that is best on the validation data."""
    best: dict[tuple[str, str, int], Row] = {}
    for row in rows:
        key = str(row["network"]), str(row["start"]), int(row["seed"])
        if key not in best or float(row["validation"]) > float(best[key]["validation"]):
            best[key] = row
    return best


@lru_cache(maxsize=1)
def _started(study: ScalesOfTheStart, network: str, start: str, seed: int) -> tuple[nn.Module, tuple[float, float]]:
    """A network before training, and its agreement on the first batch."""
    batches = image_loaders(study.data, study.images, study.side, 1000 + seed).train
    torch.manual_seed(seed)
    first = next(iter(batches))
    made = MAKERS[network](first[0].shape[1], study.side, 10)
    if start == "kaiming":
        kaiming_init(made)
    elif start == "one":
        scaled_as_one(made, first, GAMMA)
    elif start == "nio":
        learn_scales(made, endless(batches), study.iterations, gamma=GAMMA)
    found = gradcosine(made, first)
    return made, (float(found.cosine), float(found.norm))


def _trained(network: nn.Module, loaders: Loaders, steps: int, lr: float) -> tuple[nn.Module, float, float]:
    """The network after SGD with momentum, and the mean loss of its first and last steps."""
    optimizer = torch.optim.SGD(network.parameters(), lr, momentum=0.9)
    found = plain_steps(network, optimizer, repeat(lr, steps), endless(loaders.train))
    losses = [min(value, MOST) if math.isfinite(value) else MOST for value in found]
    return network, sum(losses[:FIRST]) / len(losses[:FIRST]), sum(losses[-FIRST:]) / len(losses[-FIRST:])


def _mlp(channels: int, side: int, classes: int) -> nn.Module:
    widths = [channels * side * side, *[64] * 8]
    layers = [each for a, b in pairwise(widths) for each in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(nn.Flatten(), *layers, nn.Linear(64, classes))


def _vgg(channels: int, side: int, classes: int) -> nn.Module:
    layers: list[nn.Module] = []
    for before, after, pools in ((channels, 32, 0), (32, 32, 1), (32, 64, 0), (64, 64, 1), (64, 96, 0), (96, 96, 0)):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), *([nn.MaxPool2d(2)] if pools else [])]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(96, classes))


class _Block(nn.Module):
    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        stride = 1 if before == after else 2
        self.first, self.second = nn.Conv2d(before, after, 3, stride, 1), nn.Conv2d(after, after, 3, 1, 1)
        self.around = nn.Identity() if before == after else nn.Conv2d(before, after, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.around(x) + self.second(F.relu(self.first(x))))


def _resnet(channels: int, side: int, classes: int) -> nn.Module:
    widths = (16, 16, 16, 32, 32, 64, 64)
    blocks = [_Block(before, after) for before, after in pairwise(widths)]
    stem = (nn.Conv2d(channels, 16, 3, padding=1), nn.ReLU())
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, classes))


MAKERS = {"mlp": _mlp, "vgg": _vgg, "resnet": _resnet}
