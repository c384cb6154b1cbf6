"""Do the layers of a frozen network, trained or random, make networks train that fail without it?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnal import models
from dnal.base.errors import UserError
from dnal.base.options import option
from dnal.base.statistics import paired
from dnal.studies.check import Check
from dnal.studies.figures import dots
from dnal.studies.images import image_loaders
from dnal.studies.study import Row, Setting, Size, Sizes, Source, Study
from dnal.techniques.guidance import Guide
from dnal.train.loader import endless

if TYPE_CHECKING:
    from dnal.data import Loaders
    from dnal.report.figure import Figure

TASKS = ("fcn", "cnn", "copy")
"""A deep fully connected network and a plain deep CNN on images; a recurrent network that copies symbols."""
GUIDES = ("none", "twice", "random", "trained", "shuffled")
"""twice: none, and twice the steps; shuffled: the trained one sees the examples of the batch in another order."""
BATCH, RATE = 128, 1e-3
SYMBOLS, GAP = 8, 10
"""Of the copy task: how many kinds of symbols, and how many are to be said again."""
EVALUATED = 1024
"""Sequences on which the copy task is measured."""


@dataclass(frozen=True)
class GuidesMakeNetworksTrain(Study):
    """A trained guide makes networks accurate that fail without it, and a random one helps them too.

    Three networks that train badly, each with five trainings: without a guide, for twice the steps without one (more
    than a guide costs), with a random and with a trained guide, and with the trained guide whose examples are shuffled,
    which keeps everything of it except for what it says of each example. The claim is refuted where a guided network is
    no better than one that trained for twice the steps, or where the shuffled guide does as well.
    """

    claim = (
        "Guidance by representational alignment makes untrainable networks train: fully connected ones stop "
        "over-fitting at once, plain CNNs come near ResNets, recurrent ones near transformers; untrained guides often "
        "work as well."
    )
    source = Source(
        "V. Subramaniam et al., Training the Untrainable: Introducing Inductive Bias via Representational Alignment "
        "(NeurIPS 2025)",
        "2410.20035",
        "Loss, layers and their map are verified with the published code, the claims with the project's page; the "
        "tables were not read.",
    )
    needs = (
        "CIFAR-10, by `dnal data` or as a file (guidance:data=cifar10.npz); the tiny size takes scikit-learn's digits. "
        "The sequences to be copied are drawn."
    )
    differs = (
        "4,000 images of 16x16 and some hundred steps instead of ImageNet and ten epochs; an FCN of 12 layers of 256, "
        "20 convolutions without shortcuts and norms, ResNet-20 as their guide; 10 of 8 symbols are copied, by three "
        "recurrent layers of 128, guided by a transformer of two. The network runs once for both losses, not twice."
    )
    sizes = Sizes(
        tiny=Size(2, "seconds", {"data": "digits", "images": 200, "side": 8, "steps": 1, "depth": 3}),
        small=Size(3, "half an hour"),
        paper=Size(3, "weeks", {"images": 45_000, "side": 32, "steps": 20_000, "depth": 48}),
    )
    data: str = option("cifar10", "A name of `dnal data`, or a file.")
    images: int = option(4000, "For training.", least=BATCH)
    side: int = option(16, "Height and width of the images.", least=8)
    steps: int = option(250, "Of training.", least=1)
    depth: int = option(12, "Layers of the FCN; the CNN has two thirds more.", least=1)
    tasks: str = option("all", f"One of {', '.join(TASKS)}, or all.")

    def settings(self) -> Sequence[Setting]:
        tasks = TASKS if self.tasks == "all" else (self.tasks,)
        if not set(tasks) <= set(TASKS):
            raise UserError(f"tasks is one of {', '.join(TASKS)}, or all, not '{self.tasks}'.")
        return [{"task": task, "guide": guide} for task in tasks for guide in GUIDES]

    def together(self, setting: Setting, seed: int) -> Any:
        return setting["task"], seed

    def row(self, seed: int, task: str, guide: str) -> dict[str, Any]:
        ground = _ground(self, task, seed)
        torch.manual_seed(seed)
        network = ground.network()
        before = None
        if guide not in ("none", "twice"):
            before = _guide(self, task, seed, trained=guide != "random")
        steps = self.steps * (2 if guide == "twice" else 1)
        found = _trained(network, ground, steps, seed, before, shuffled=guide == "shuffled")
        accuracy, loss = _measured(network, ground.test())
        return {
            "accuracy": round(accuracy, 4), "loss": round(loss, 4), "train_loss": round(found.loss, 4),
            "distance": round(found.distance, 4),
        }  # fmt: skip

    def checks(self, rows: Sequence[Row]) -> list[Check]:
        def of(task: str, guide: str, column: str = "accuracy", times: float = 100) -> dict[int, float]:
            own = [row for row in rows if (row["task"], row["guide"]) == (task, guide)]
            return {int(row["seed"]): times * float(row[column]) for row in own}

        checks = []
        for task in dict.fromkeys(str(row["task"]) for row in rows):
            for ours, theirs, words in (
                ("trained", "none", "a trained guide is better than none"),
                ("trained", "twice", "a trained guide is better than twice the steps"),
                ("trained", "shuffled", "a trained guide is better than a shuffled one"),
                ("random", "none", "a random guide is better than none"),
            ):
                checks.append(
                    Check(
                        f"{task}: {words}", f"accuracy, {ours} minus {theirs}, points",
                        paired(of(task, ours), of(task, theirs)), above=0.0,
                    )
                )  # fmt: skip
            for guide in ("trained", "random"):
                checks.append(
                    Check(
                        f"{task}: a {guide} guide lowers the test loss", f"cross entropy, {guide} minus none",
                        paired(of(task, guide, "loss", 1), of(task, "none", "loss", 1)), below=0.0,
                    )
                )  # fmt: skip
        return checks

    def figure(self, rows: Sequence[Row]) -> Figure:
        return dots(
            rows, ["task", "guide"], "accuracy", what="accuracy on the test data",
            caption="twice: no guide and twice the steps; shuffled: the control. A dot is a seed, a line the mean.",
        )  # fmt: skip

    def imagined(self, row: Row, holds: bool) -> Row:
        noise = 0.001 * (int(row["seed"]) % 3)
        better = (row["guide"] in ("trained", "random")) == holds
        worse = row["guide"] == "shuffled" and not holds
        return row | {
            "accuracy": 0.3 + 0.3 * (better or worse) + noise * better, "loss": 2.0 - 0.5 * better - noise * better,
        }  # fmt: skip


class Ground(NamedTuple):
    """A task: what makes its networks, endless batches from a seed, and batches to be tested on."""

    network: Callable[[], nn.Module]
    guide: Callable[[], nn.Module]
    train: Callable[[int], Iterable[tuple[Tensor, Tensor]]]
    test: Callable[[], Iterable[tuple[Tensor, Tensor]]]


class Trained(NamedTuple):
    """The mean loss of the last tenth of the steps, and the mean distance of the layers there; 0 without a guide."""

    loss: float
    distance: float


def _ground(study: GuidesMakeNetworksTrain, task: str, seed: int) -> Ground:
    if task == "copy":
        return Ground(Copier, Reader, _sequences, lambda: [next(iter(_sequences(10_000 + seed, EVALUATED)))])

    def loaders(seed: int) -> Loaders:
        return image_loaders(study.data, study.images, study.side, seed, BATCH)

    held_out = loaders(seed)
    channels = int(next(iter(held_out.val))[0].shape[1])

    def network() -> nn.Module:
        if task == "fcn":
            return fcn(channels * study.side**2, study.depth)
        return plain_cnn(channels, study.depth * 5 // 3)

    return Ground(
        network,
        lambda: models.create("cifar/resnet20", classes=10, input_shape=(channels, study.side, study.side)),
        lambda order: endless(loaders(order).train),
        lambda: held_out.test,
    )


@lru_cache(maxsize=2)
def _guide(study: GuidesMakeNetworksTrain, task: str, seed: int, *, trained: bool) -> nn.Module:
    ground = _ground(study, task, seed)
    torch.manual_seed(1000 + seed)
    guide = ground.guide()
    if trained:
        _trained(guide, ground, study.steps, seed, None)
    return guide.eval()


def _trained(
    network: nn.Module, ground: Ground, steps: int, seed: int, guide: nn.Module | None, *, shuffled: bool = False
) -> Trained:
    """Trains a network in place by Adam, with cross entropy, at a constant rate."""
    optimizer = torch.optim.Adam(network.parameters(), RATE)
    of = None if guide is None else Guide(network, guide)
    draw = torch.Generator().manual_seed(seed)
    losses, distances = [], []
    network.train()
    for _, (inputs, targets) in zip(range(steps), ground.train(seed), strict=False):
        optimizer.zero_grad()
        loss = F.cross_entropy(network(inputs), targets)
        losses.append(float(loss.detach()))
        if of is not None:
            order = torch.randperm(len(inputs), generator=draw) if shuffled else torch.arange(len(inputs))
            distance = of.distance(inputs[order])
            distances.append(float(distance.detach()))
            loss = loss + distance
        loss.backward()
        optimizer.step()
    if of is not None:
        of.close()
    last = max(1, steps // 10)
    return Trained(sum(losses[-last:]) / last, sum(distances[-last:]) / last)


@torch.no_grad()
def _measured(network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> tuple[float, float]:
    """Accuracy and cross entropy where there are targets, in eval mode."""
    network.eval()
    right, loss, count = 0, 0.0, 0
    for inputs, targets in batches:
        logits, there = network(inputs), targets >= 0
        right += int(((logits.argmax(1) == targets) & there).sum())
        loss += float(F.cross_entropy(logits, targets, reduction="sum"))
        count += int(there.sum())
    return right / count, loss / count


def fcn(inputs: int, depth: int) -> nn.Module:
    """A deep fully connected network with batch norm and dropout, as the paper's."""
    widths = [inputs, *[256] * depth]
    layers = [
        each
        for a, b in pairwise(widths)
        for each in (nn.Linear(a, b, bias=False), nn.BatchNorm1d(b), nn.ReLU(), nn.Dropout(0.1))
    ]
    return nn.Sequential(nn.Flatten(), *layers, nn.Linear(256, 10))


def plain_cnn(channels: int, depth: int) -> nn.Module:
    """Convolutions without shortcuts and without norms, of 16, 32 and 64 channels: a ResNet without what makes it
    train."""
    widths = [channels, *(16 * 2 ** (3 * layer // depth) for layer in range(depth))]
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        stride = 2 if layers and after > before else 1
        layers += [nn.Conv2d(before, after, 3, stride, 1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], 10))


def _sequences(seed: int, count: int = BATCH) -> Iterable[tuple[Tensor, Tensor]]:
    """Batches of the copy task: GAP symbols, a sign to begin, and as many blanks, (N, 2 GAP + 1); there the symbols are
    to be said again, and nothing before (-100)."""
    draw = torch.Generator().manual_seed(seed)
    while True:
        symbols = torch.randint(1, SYMBOLS + 1, (count, GAP), generator=draw)
        blank = torch.zeros_like(symbols)
        inputs = torch.cat([symbols, torch.full((count, 1), SYMBOLS + 1), blank], 1)
        yield inputs, torch.cat([torch.full((count, GAP + 1), -100), symbols], 1)


class Copier(nn.Module):
    """Three recurrent layers of 128: (N, L) -> (N, symbols, L)."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(SYMBOLS + 2, 64)
        self.layers = nn.ModuleList([nn.RNN(before, 128, batch_first=True) for before in (64, 128, 128)])
        self.head = nn.Linear(128, SYMBOLS + 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.tokens(x)
        for layer in self.layers:
            x = layer(x)[0]
        logits: Tensor = self.head(x)
        return logits.transpose(1, 2)


class Reader(nn.Module):
    """A causal transformer of two layers of 64: (N, L) -> (N, symbols, L)."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(SYMBOLS + 2, 64), nn.Embedding(2 * GAP + 1, 64)
        layer = nn.TransformerEncoderLayer(64, 4, 128, dropout=0.0, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(64, SYMBOLS + 1)

    def forward(self, x: Tensor) -> Tensor:
        length = x.shape[1]
        later = torch.ones(length, length, dtype=torch.bool).triu(1)
        logits: Tensor = self.head(self.encoder(self.tokens(x) + self.places.weight[:length], mask=later))
        return logits.transpose(1, 2)
