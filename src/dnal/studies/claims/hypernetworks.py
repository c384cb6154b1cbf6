"""Do magnitude invariant parametrizations make hypernetworks train better, and at more learning rates?"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from dnal import data
from dnal.base.options import option
from dnal.base.statistics import paired
from dnal.data.dataset import Dataset
from dnal.hyper import Hypernetwork, hypernetwork
from dnal.hyper.encoding import Encoding
from dnal.studies.check import Check
from dnal.studies.figures import curves
from dnal.studies.study import Row, Setting, Size, Sizes, Source, Study
from dnal.train.loader import endless

if TYPE_CHECKING:
    from dnal.report.figure import Figure


class Variant(NamedTuple):
    """``conditioned``: whether the hypernetwork is told how far the images are turned."""

    encoding: Encoding
    residual: bool
    conditioned: bool


VARIANTS = {
    "default": Variant("none", False, True),
    "encoding only": Variant("norm", False, True),
    "residual only": Variant("none", True, True),
    "MIP": Variant("norm", True, True),
    "unconditioned": Variant("norm", True, False),
}
RATES = {"sgd": (0.001, 0.01, 0.1, 0.3, 1.0), "adam": (0.0001, 0.001, 0.01, 0.03, 0.1)}
BATCH = 64
CHANCE = math.log(10)
"""The cross entropy of ten classes that are all taken for equally likely; a training that ends no lower diverged."""
PLACES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Where the test loss is measured."""


@dataclass(frozen=True)
class HypernetworksTrainStably(Study):
    """Hypernetworks of constant norm and with a residual train better, and at more rates, than plain ones.

    A hypernetwork is told how far images are turned, from 0 to a half turn, and predicts the weights of an MLP that
    classifies them. Each step has one turn. Plain and magnitude invariant hypernetworks, and either half of the change,
    train at five rates of SGD with momentum and of Adam. The claim is refuted where the magnitude invariant one has no
    lower loss at its best rate or over all rates, diverges as often, or where half of the change does as well. The
    control is told nothing of the turn: where it is as good, the task says nothing about hypernetworks.
    """

    claim = (
        "Magnitude invariant parametrizations make the training of hypernetworks more stable and faster, with SGD and "
        "with Adam."
    )
    source = Source(
        "J. J. Gonzalez Ortiz, J. Guttag and A. V. Dalca, Magnitude Invariant Parametrizations Improve Hypernetwork "
        "Learning (ICLR 2024)",
        "2304.07645",
        "Encoding, residual and initialisation are verified with the published code; the claim is from a summary, and "
        "the tables were not read.",
    )
    needs = (
        "Fashion-MNIST, by `dnal data` or as a file (hypernetworks:data=fashion-mnist.npz); the tiny size takes "
        "scikit-learn's digits."
    )
    differs = (
        "Turned images of 14x14 and an MLP with 32 hidden units instead of Bayesian networks, registration and "
        "segmentation; some hundred steps at constant rates. Plain hypernetworks predict weights that are as large as "
        "those of a new network in the middle of the inputs, which makes them better than a default one."
    )
    sizes = Sizes(
        tiny=Size(2, "seconds", {"data": "digits", "images": 200, "side": 8, "steps": 2, "units": 8}),
        small=Size(3, "15 minutes"),
        paper=Size(5, "days", {"images": 55_000, "side": 28, "steps": 20_000}),
    )
    data: str = option("fashion-mnist", "A name of `dnal data`, or a file, of ten classes.")
    images: int = option(6000, "For training.", least=BATCH)
    side: int = option(14, "Height and width of the images.", least=8)
    steps: int = option(600, "Of training.", least=1)
    units: int = option(128, "Of the hypernetwork's last hidden layer; the first has 16.", least=1)

    def settings(self) -> Sequence[Setting]:
        return [
            {"optimizer": optimizer, "variant": variant, "lr": lr}
            for optimizer, rates in RATES.items() for variant in VARIANTS for lr in rates
        ]  # fmt: skip

    def together(self, setting: Setting, seed: int) -> Any:
        return seed

    def row(self, seed: int, optimizer: str, variant: str, lr: float) -> dict[str, Any]:
        loaders = data.loaders(_images(self.data, self.images, self.side), BATCH, seed=seed, eval_batch_size=1000)
        own = VARIANTS[variant]
        torch.manual_seed(seed)
        network = nn.Sequential(nn.Flatten(), nn.Linear(self.side**2, 32), nn.ReLU(), nn.Linear(32, 10))
        hyper = hypernetwork(
            network, {"turn": ()}, hidden=(16, self.units), encoding=own.encoding, residual=own.residual
        )
        optimizing: torch.optim.Optimizer = torch.optim.Adam(hyper.parameters(), lr)
        if optimizer == "sgd":
            optimizing = torch.optim.SGD(hyper.parameters(), lr, momentum=0.9)
        told = Told(network, hyper, own.conditioned)
        losses = _trained(told, optimizing, endless(loaders.train), self.steps, seed)
        last = losses[-max(1, self.steps // 10) :]
        found = math.fsum(last) / len(last)
        diverged = not found < CHANCE
        loss, accuracy = (CHANCE, 0.1) if diverged else _measured(told, loaders.test)
        return {
            "train_loss": round(CHANCE if diverged else found, 4), "test_loss": round(min(loss, CHANCE), 4),
            "accuracy": round(accuracy, 4), "diverged": int(diverged),
        }  # fmt: skip

    def checks(self, rows: Sequence[Row]) -> list[Check]:
        def of(optimizer: str, variant: str, column: str) -> dict[int, list[float]]:
            found: dict[int, list[float]] = {}
            for row in rows:
                if (row["optimizer"], row["variant"]) == (optimizer, variant):
                    found.setdefault(int(row["seed"]), []).append(float(row[column]))
            return found

        def best(optimizer: str, variant: str) -> dict[int, float]:
            return {seed: min(own) for seed, own in of(optimizer, variant, "train_loss").items()}

        def over_all(optimizer: str, variant: str) -> dict[int, float]:
            return {seed: sum(own) / len(own) for seed, own in of(optimizer, variant, "train_loss").items()}

        def stable(optimizer: str, variant: str) -> dict[int, float]:
            return {seed: len(own) - sum(own) for seed, own in of(optimizer, variant, "diverged").items()}

        checks = []
        for optimizer in dict.fromkeys(str(row["optimizer"]) for row in rows):
            ours = best(optimizer, "MIP")
            for theirs, words in (
                ("default", "MIP is better than the default, each at its best rate"),
                ("unconditioned", "the turn says something, at the best rates"),
            ):
                checks.append(
                    Check(
                        f"{optimizer}: {words}", f"cross entropy of the last tenth of the steps, MIP minus {theirs}",
                        paired(ours, best(optimizer, theirs)), below=0.0,
                    )
                )  # fmt: skip
            for theirs in ("default", "encoding only", "residual only"):
                checks.append(
                    Check(
                        f"{optimizer}: MIP is better than {theirs}, over all rates",
                        f"mean over the rates of the cross entropy, at most {CHANCE:.2f}, MIP minus {theirs}",
                        paired(over_all(optimizer, "MIP"), over_all(optimizer, theirs)), below=0.0,
                    )
                )  # fmt: skip
            checks.append(
                Check(
                    f"{optimizer}: MIP trains at more rates than the default",
                    f"rates of {len(RATES[optimizer])} that do not diverge, MIP minus default",
                    paired(stable(optimizer, "MIP"), stable(optimizer, "default")), above=0.0,
                )
            )  # fmt: skip
        return checks

    def figure(self, rows: Sequence[Row]) -> Figure:
        return curves(
            rows, "lr", "train_loss", ["optimizer", "variant"],
            what=("learning rate", "cross entropy of the last steps"), log=True,
        )  # fmt: skip

    def imagined(self, row: Row, holds: bool) -> Row:
        noise = 0.001 * (int(row["seed"]) % 3)
        good = (row["variant"] == "MIP") == holds
        return row | {"train_loss": 0.3 + noise if good else 1.5, "diverged": int(not good)}


class Told(NamedTuple):
    """A network whose weights a hypernetwork predicts from the turn of the images, or from nothing."""

    network: nn.Module
    hyper: Hypernetwork
    conditioned: bool

    def logits(self, images: Tensor, turn: float) -> Tensor:
        weights = self.hyper(turn=turn if self.conditioned else 0.5)
        found: Tensor = functional_call(self.network, weights, (turned(images, turn),))
        return found


def turned(images: Tensor, turn: float) -> Tensor:
    """Images (N, C, H, W) turned by ``turn`` times a half turn; what comes in at the corners is as their edges."""
    cos, sin = math.cos(math.pi * turn), math.sin(math.pi * turn)
    matrix = torch.tensor([[cos, -sin, 0.0], [sin, cos, 0.0]], dtype=images.dtype).expand(len(images), 2, 3)
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


@lru_cache(maxsize=1)
def _images(name: str, images: int, side: int) -> Dataset:
    return data.load(name, input_shape=(1, side, side), limit_train=images, augment=False)


def _trained(
    told: Told, optimizer: torch.optim.Optimizer, batches: Iterable[tuple[Tensor, Tensor]], steps: int, seed: int
) -> list[float]:
    """Trains the hypernetwork in place, a turn each step; the loss of each. It ends where that is no number."""
    draw, losses = torch.Generator().manual_seed(seed), []
    for _, (inputs, targets) in zip(range(steps), batches, strict=False):
        loss = F.cross_entropy(told.logits(inputs, float(torch.rand((), generator=draw))), targets)
        losses.append(float(loss.detach()))
        if not math.isfinite(losses[-1]):
            return [math.inf]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return losses


@torch.no_grad()
def _measured(told: Told, batches: Iterable[tuple[Tensor, Tensor]]) -> tuple[float, float]:
    """Cross entropy and accuracy, means over the turns."""
    loss, right, count = 0.0, 0, 0
    for inputs, targets in batches:
        for turn in PLACES:
            logits = told.logits(inputs, turn)
            loss += float(F.cross_entropy(logits, targets, reduction="sum"))
            right += int((logits.argmax(1) == targets).sum())
            count += len(targets)
    return (loss / count if math.isfinite(loss) else math.inf), right / count
