"""Do few features, and networks that choose each other's examples, keep wrong labels out of a network?"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
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
from dnal.studies.noisy import BY_LOT, PEOPLE, Images, noisy_images
from dnal.studies.study import Row, Setting, Size, Sizes, Source, Study
from dnal.studies.training import fitted, flipped_batches
from dnal.techniques.co_teaching import co_teach
from dnal.techniques.nested_dropout import Nested, best
from dnal.techniques.rich import last_linear
from dnal.train.optimizers import sgd
from dnal.train.schedule import cosine
from dnal.train.step import set_lr

if TYPE_CHECKING:
    from dnal.report.figure import Figure

WAYS = ("cross entropy", "dropout", "nested", "co-teaching", "both")
"""both: co-teaching of two networks with nested dropout."""
START = {"co-teaching": "cross entropy", "both": "nested"}
"""What the two networks of co-teaching were trained with before."""
DROPOUT, FORGET = 0.3, 0.2
"""The paper's for CIFAR-10."""
FINE = 1e-3
"""The learning rate of co-teaching, the paper's. With ten times that, and frozen statistics of batch norms, two
networks with nested dropout diverged."""


class Trained(NamedTuple):
    """A network, and what lets the first features through, where there is such."""

    network: nn.Module
    nested: Nested | None


@dataclass(frozen=True)
class FewFeaturesIgnoreNoise(Study):
    """Nested dropout keeps wrong labels out better than cross entropy, and co-teaching of two such networks adds to it.

    A network is trained on images of which people, or a lot, got labels wrong, with cross entropy, with dropout of the
    last features, and with nested dropout of them. Two networks of the first and of the third kind are then co-taught.
    They are measured on correct labels at the end of training. The controls: dropout without an order of the features;
    and the two networks of co-teaching before it, of which the mean of the logits is better than one already.
    """

    claim = (
        "Compression of the features by dropout or nested dropout makes training with noisy labels more robust, and "
        "co-teaching of two compressed networks improves on it."
    )
    source = Source(
        "Y. Chen et al., Compressing Features for Learning with Noisy Labels (TNNLS 2022)",
        "2206.13140",
        "Method and numbers are verified with the published code and the tables in its repository; the paper has no "
        "CIFAR-10N.",
    )
    needs = (
        "CIFAR-10 as a file (noisy-labels:data=cifar10.npz) and the labels of CIFAR-10N (labels=cifar10n.npz, with "
        "clean_label, worse_label and aggre_label; from its authors); without labels the noise is symmetric (40 %) and "
        "asymmetric (30 %), by lot. The tiny size takes scikit-learn's digits."
    )
    differs = (
        "A small VGG, 4,000 images of 16x16 and some hundred steps instead of a ResNet-18, 45,000 and 350 epochs; no "
        "epoch is chosen by the validation data, and k alone is. They have correct labels, as in the paper. The "
        "classifier has a bias. In co-teaching each network keeps its own k, chosen before and again at the end."
    )
    sizes = Sizes(
        tiny=Size(2, "seconds", {"data": "digits", "images": 200, "held": 50, "steps": 4, "fine": 2}),
        small=Size(3, "half an hour"),
        paper=Size(5, "days", {"images": 45_000, "held": 5000, "steps": 50_000, "fine": 14_000}),
    )
    data: str = option("cifar10.npz", "An .npz file of CIFAR-10, or digits.")
    labels: str = option("", "The .npz file of CIFAR-10N; empty: noise by lot.")
    images: int = option(4000, "For training.", least=100)
    held: int = option(500, "For the choice of k, with correct labels.", least=10)
    steps: int = option(700, "Of training.", least=1)
    fine: int = option(150, "Steps of co-teaching.", least=1)
    sigma: float = option(10.0, "Of nested dropout; the paper's for CIFAR-10.", above=0)

    def settings(self) -> Sequence[Setting]:
        if self.data == "digits" and self.labels:
            raise UserError("labels are of CIFAR-10, and the digits have noise by lot; leave labels out.")
        return [{"labels": labels, "way": way} for labels in (PEOPLE if self.labels else BY_LOT) for way in WAYS]

    def together(self, setting: Setting, seed: int) -> Any:
        return setting["labels"], seed

    def row(self, seed: int, labels: str, way: str) -> dict[str, Any]:
        images = _images(self, labels, seed)
        if way not in START:
            own = _trained(self, labels, way, seed, 0)
            with _settled(self, images, [own]) as few:
                return {"accuracy": _accuracy([own], images), "features": few}
        pair = [copy.deepcopy(_trained(self, labels, START[way], seed, member)) for member in range(2)]
        with _settled(self, images, pair):
            before = _accuracy(pair, images)
            _co_teach(self, images, pair, seed)
        with _settled(self, images, pair) as few:
            return {"accuracy": _accuracy(pair, images), "features": few, "before": before}

    def checks(self, rows: Sequence[Row]) -> list[Check]:
        checks = []
        for labels in dict.fromkeys(str(row["labels"]) for row in rows):
            own = [row for row in rows if row["labels"] == labels]

            def of(way: str, column: str = "accuracy", own: Sequence[Row] = own) -> dict[int, float]:
                return {int(row["seed"]): 100 * float(row[column]) for row in own if row["way"] == way}

            nested = of("nested")
            compared = [
                ("nested dropout is better than cross entropy", nested, of("cross entropy"), 0.0),
                ("nested dropout is not worse than dropout by a point", nested, of("dropout"), -1.0),
                ("co-teaching adds to two networks", of("co-teaching"), of("co-teaching", "before"), 0.0),
                ("co-teaching adds to two with nested dropout", of("both"), of("both", "before"), 0.0),
                ("both are better than co-teaching", of("both"), of("co-teaching"), 0.0),
            ]
            checks += [
                Check(f"{claim} ({labels})", "accuracy, the first minus the second, points", paired(one, other),
                      above=least)
                for claim, one, other, least in compared
            ]  # fmt: skip
        return checks

    def figure(self, rows: Sequence[Row]) -> Figure:
        return dots(
            rows, ["labels", "way"], {"accuracy": "at the end", "before": "two networks, before co-teaching"},
            what="accuracy on correct test labels",
        )  # fmt: skip

    def imagined(self, row: Row, holds: bool) -> Row:
        noise = 0.001 * (int(row["seed"]) % 3)
        better = {"cross entropy": 0.5, "dropout": 0.55, "nested": 0.6, "co-teaching": 0.65, "both": 0.7}
        worse = {"cross entropy": 0.65, "dropout": 0.7, "nested": 0.5, "co-teaching": 0.6, "both": 0.55}
        found = row | {"accuracy": (better if holds else worse)[str(row["way"])] + noise}
        return found | {"before": 0.62 + (0 if holds else 0.1)} if row["way"] in START else found


def _images(study: FewFeaturesIgnoreNoise, labels: str, seed: int) -> Images:
    return noisy_images(study.data, study.labels, labels, study.images + study.held, seed)


@lru_cache(maxsize=2 * len(WAYS))
def _trained(study: FewFeaturesIgnoreNoise, labels: str, way: str, seed: int, member: int) -> Trained:
    """The network of a way, or the second one for co-teaching."""
    images = _images(study, labels, seed)
    torch.manual_seed(1000 * seed + member)
    shape = (int(images.x.shape[1]), int(images.x.shape[2]), int(images.x.shape[3]))
    network = models.create("vgg_small", classes=10, input_shape=shape)
    nested = Nested(network, images.x[:2], study.sigma) if way == "nested" else None
    x, y = images.x[: study.images], images.y[: study.images]
    with _dropout(network, images.x[:2], DROPOUT if way == "dropout" else 0.0):
        fitted(network, x, y, study.steps, 1000 * seed + member)
    return Trained(network, nested)


@contextmanager
def _dropout(network: nn.Module, inputs: Tensor, share: float) -> Iterator[None]:
    """Dropout of what the last linear layer reads, while the network trains."""
    head = network.get_submodule(last_linear(network, inputs))
    hook = head.register_forward_pre_hook(lambda module, args: F.dropout(args[0], share, module.training))
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def _settled(study: FewFeaturesIgnoreNoise, images: Images, of: Sequence[Trained]) -> Iterator[int]:
    """The networks in eval mode with the k that the validation data choose for each; of the first one it is given."""
    held = [(images.x[study.images :], images.right[study.images :])]
    widths = []
    for network, nested in of:
        network.eval()
        if nested is not None:
            nested.keep = best(nested.accuracies(held))
        widths.append(0 if nested is None else nested.keep or 0)
    try:
        yield widths[0]
    finally:
        for _, nested in of:
            if nested is not None:
                nested.keep = None


def _co_teach(study: FewFeaturesIgnoreNoise, images: Images, pair: Sequence[Trained], seed: int) -> None:
    """Fine-tunes both, in place, with the statistics of batch norms as they are."""
    (first, one), (second, other) = pair
    optimizers = [sgd(network, FINE) for network in (first, second)]
    for network in (first, second):
        for module in network.modules():
            module.training = not isinstance(module, nn.modules.batchnorm._BatchNorm)
    batches = flipped_batches(images.x[: study.images], images.y[: study.images], 1000 * seed + 500)
    for step, batch in zip(range(study.fine), batches, strict=False):
        losses = co_teach(first, second, batch, FORGET, nested=None if one is None or other is None else (one, other))
        for optimizer in optimizers:
            set_lr(optimizer, cosine((step + 1) / study.fine, FINE, 0.0))
            optimizer.zero_grad()
        torch.stack(losses).sum().backward()
        for optimizer in optimizers:
            optimizer.step()


@torch.no_grad()
def _accuracy(of: Sequence[Trained], images: Images) -> float:
    """That of the mean of the networks' logits on the test images."""
    hits = 0
    for x, y in zip(images.x_test.split(500), images.y_test.split(500), strict=True):
        logits = torch.stack([network.eval()(x) for network, _ in of]).mean(0)
        hits += int((logits.argmax(1) == y).sum())
    return round(hits / len(images.y_test), 4)
