"""Do scores from the first epochs tell which training examples matter, and which a person mislabelled?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch
from scipy import stats
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from dnal import data, models
from dnal.base.errors import UserError
from dnal.base.options import option
from dnal.base.statistics import mean, paired
from dnal.data.images.arrays import as_images
from dnal.data.images.resize import resize
from dnal.data.npz import read_arrays
from dnal.studies.check import Check
from dnal.studies.figures import dots
from dnal.studies.study import Row, Setting, Size, Sizes, Source, Study
from dnal.studies.training import plain_steps
from dnal.techniques.data_diet import kept, scores_of
from dnal.train.evaluate import accuracy
from dnal.train.loader import endless
from dnal.train.optimizers import sgd
from dnal.train.schedule import cosine

if TYPE_CHECKING:
    from dnal.report.figure import Figure

SCORES: tuple[Literal["el2n", "forgetting", "random"], ...] = ("el2n", "forgetting", "random")
KEPT = (0.75, 0.5, 0.3)
LABELS = ("worse", "aggre")
"""Of CIFAR-10N: what one careless person said, and what most of three said."""
BATCH = 64


class Images(NamedTuple):
    """Training and test images, float (N, C, H, W), and labels (N,); the correct labels of the training images."""

    x: Tensor
    y: Tensor
    right: Tensor
    x_test: Tensor
    y_test: Tensor


@dataclass(frozen=True)
class FewExamplesSuffice(Study):
    """Training on the examples with the largest EL2N scores costs no more accuracy than training on random ones.

    Everybody trains for the same number of steps. Three questions: is EL2N at least as good a choice as chance, and as
    forgetting scores, at each share that is kept; does half of the data cost less than a point; and do the scores find
    the labels that people got wrong. The first and second are tested within a margin of a point.
    """

    claim = (
        "Scores from a few epochs of training, averaged over several initialisations, identify examples that can be "
        "pruned: on CIFAR-10 half of the training data, with slightly better accuracy."
    )
    source = Source(
        "M. Paul, S. Ganguli and G. K. Dziugaite, Deep Learning on a Data Diet (NeurIPS 2021)",
        "2107.07075",
        "Scores and rules are verified with the published code, the claim on CIFAR-10 with the abstract. GraNd at "
        "initialisation is left out: a reproduction, recalled, did not find it useful.",
    )
    needs = (
        "CIFAR-10 as a file (data-diet:data=cifar10.npz), and the labels of CIFAR-10N for the part on noise "
        "(labels=cifar10n.npz, with clean_label, worse_label and aggre_label; from the authors of CIFAR-10N). The tiny "
        "size takes scikit-learn's digits, a tenth of them mislabelled by lot."
    )
    differs = (
        "A small VGG, 6,000 images of 16x16, some thousand steps, three networks that score after five epochs; the "
        "paper has a ResNet-18, 50,000 images, 78,000 steps and ten networks. The part on people's labels is ours."
    )
    sizes = Sizes(
        tiny=Size(
            2, "seconds",
            {"data": "digits", "images": 200, "steps": 8, "scoring": 1, "networks": 1, "labels": "by lot"},
        ),
        small=Size(3, "an hour"),
        paper=Size(5, "days", {"images": 45_000, "steps": 78_000, "scoring": 20, "networks": 10}),
    )  # fmt: skip
    data: str = option("cifar10.npz", "An .npz file of CIFAR-10, or digits.")
    labels: str = option("", "The .npz file of CIFAR-10N; by lot: a tenth is mislabelled; empty: no part on noise.")
    images: int = option(6000, "For training.", least=100)
    steps: int = option(940, "Of training, whatever is kept.", least=1)
    scoring: int = option(5, "Epochs before the score.", least=1)
    networks: int = option(3, "That score.", least=1)

    def settings(self) -> Sequence[Setting]:
        whole: dict[str, str | float] = {"part": "pruning", "labels": "right", "score": "none", "keep": 1.0}
        pruned = [{**whole, "score": score, "keep": keep} for keep in KEPT for score in SCORES]
        named: Sequence[str] = () if not self.labels else ("lot",) if self.labels == "by lot" else LABELS
        return [whole, *pruned, *({**whole, "part": "noise", "labels": name, "score": "el2n"} for name in named)]

    def together(self, setting: Setting, seed: int) -> Any:
        return setting["part"], setting["labels"], setting["score"], seed

    def row(self, seed: int, part: str, labels: str, score: str, keep: float) -> dict[str, Any]:
        images = _images(self, labels, seed)
        if part == "noise":
            wrong = images.y != images.right
            found = _scores(self, labels, score, seed)
            return {"auroc": round(_auroc(found, wrong), 4), "mislabelled": round(float(wrong.double().mean()), 4)}
        chosen = torch.arange(len(images.y))
        if score != "none":
            chosen = kept(_scores(self, labels, score, seed), round(keep * len(images.y)))
        network = _trained(_network(images, seed), images.x[chosen], images.y[chosen], self.steps, seed)
        test = DataLoader(TensorDataset(images.x_test, images.y_test), 500)
        return {"accuracy": round(accuracy(network, test), 4), "kept": len(chosen)}

    def checks(self, rows: Sequence[Row]) -> list[Check]:
        def of(score: str, keep: float) -> dict[int, float]:
            return {
                int(row["seed"]): 100 * float(row["accuracy"])
                for row in rows
                if (row["part"], row["score"], float(row["keep"])) == ("pruning", score, keep)
            }

        checks = [
            Check(
                f"EL2N not worse than {other} by a point, {100 * keep:g} % kept",
                f"accuracy, EL2N minus {other}, points",
                paired(of("el2n", keep), of(other, keep)), above=-1.0,
            )
            for keep in KEPT for other in ("random", "forgetting")
        ]  # fmt: skip
        checks.append(
            Check(
                "half of the data cost less than a point", "accuracy, half by EL2N minus all, points",
                paired(of("el2n", 0.5), of("none", 1.0)), above=-1.0,
            )
        )  # fmt: skip
        for name in dict.fromkeys(str(row["labels"]) for row in rows if row["part"] == "noise"):
            found = [float(row["auroc"]) for row in rows if row["labels"] == name and row["part"] == "noise"]
            checks.append(
                Check(f"EL2N finds mislabelled images ({name})", "area under the ROC curve", mean(found), above=0.6)
            )
        return checks

    def figure(self, rows: Sequence[Row]) -> Figure:
        own = [
            {**row, "what": "all" if row["score"] == "none" else f"{100 * float(row['keep']):g} % by {row['score']}"}
            for row in rows if row["part"] == "pruning"
        ]  # fmt: skip
        return dots(own, ["what"], "accuracy", what="accuracy on the test data")

    def imagined(self, row: Row, holds: bool) -> Row:
        noise = 0.001 * (int(row["seed"]) % 3)
        if row["part"] == "noise":
            return row | {"auroc": (0.9 if holds else 0.5) + noise}
        return row | {"accuracy": 0.7 + noise + (0.0 if holds or row["score"] != "el2n" else -0.1)}


@lru_cache(maxsize=2)
def _images(study: FewExamplesSuffice, labels: str, seed: int) -> Images:
    """A part of the data, drawn by the seed; the labels are the correct ones, or ``labels``."""
    draw = np.random.default_rng(seed)
    if study.data == "digits":
        known = data.load("digits")
        x, right = known.train.batch(torch.arange(len(known.train)), 0)
        x_test, y_test = known.test.batch(torch.arange(len(known.test)), 0)
        chosen = draw.permutation(len(right))[: study.images]
        x, right = x[chosen], right[chosen]
        moved = torch.from_numpy(draw.random(len(right)) < 0.1)
        return Images(
            x, torch.where(moved, (right + 1) % 10, right) if labels == "lot" else right, right, x_test, y_test
        )
    arrays = read_arrays(Path(study.data), ("x_train", "y_train", "x_test", "y_test"))
    chosen = draw.permutation(len(arrays["y_train"]))[: study.images]
    right = arrays["y_train"].reshape(-1).astype(np.int64)
    y = right
    if labels != "right":
        file = read_arrays(Path(study.labels), ("clean_label", f"{labels}_label"))
        if not np.array_equal(file["clean_label"].reshape(-1), right):
            raise UserError(f"the labels in '{study.labels}' are not of the images in '{study.data}', in their order.")
        y = file[f"{labels}_label"].reshape(-1).astype(np.int64)
    x = _floats(arrays["x_train"][chosen])
    centre, width = x.mean((0, 2, 3), keepdim=True), x.std((0, 2, 3), keepdim=True)
    return Images(
        (x - centre) / width, torch.from_numpy(y[chosen]), torch.from_numpy(right[chosen]),
        (_floats(arrays["x_test"]) - centre) / width, torch.from_numpy(arrays["y_test"].reshape(-1).astype(np.int64)),
    )  # fmt: skip


def _floats(images: np.ndarray[Any, Any]) -> Tensor:
    return resize(as_images(images, "images"), (16, 16)).float() / 255


@lru_cache(maxsize=2)
def _scores(study: FewExamplesSuffice, labels: str, score: Any, seed: int) -> Tensor:
    images = _images(study, labels, seed)
    loader = DataLoader(TensorDataset(images.x, images.y), BATCH, shuffle=True)
    return scores_of(
        _network(images, seed), loader, score, epochs=study.scoring, networks=study.networks, lr=0.05, seed=1000 * seed
    )


def _network(images: Images, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    shape = (int(images.x.shape[1]), int(images.x.shape[2]), int(images.x.shape[3]))
    return models.create("vgg_small", classes=10, input_shape=shape)


def _trained(network: nn.Module, x: Tensor, y: Tensor, steps: int, seed: int) -> nn.Module:
    """The network after so many steps of SGD with one cosine, on images that are flipped by lot, except for digits."""
    optimizer = sgd(network, 0.1)
    draw = torch.Generator().manual_seed(seed)
    batch = min(BATCH, len(x))
    loader = DataLoader(TensorDataset(x, y), batch, shuffle=True, drop_last=True, generator=draw)

    def flipped(inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        if inputs.shape[-1] < 16:
            return inputs, targets
        return torch.where(torch.rand(len(inputs), 1, 1, 1, generator=draw) < 0.5, inputs.flip(3), inputs), targets

    rates = (cosine(step / steps, 0.1, 0.05) for step in range(steps))
    for _ in plain_steps(network, optimizer, rates, (flipped(*each) for each in endless(loader))):
        pass
    return network.eval()


def _auroc(scores: Tensor, positive: Tensor) -> float:
    """How often a positive has the larger score, ties counting half."""
    high, low = scores[positive].numpy(), scores[~positive].numpy()
    return float(stats.mannwhitneyu(high, low).statistic) / (len(high) * len(low)) if len(high) and len(low) else 0.5
