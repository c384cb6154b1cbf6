"""Do scores from the first epochs tell which training examples matter, and which a person mislabelled?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import torch
from scipy import stats
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from dnal import models
from dnal.base.options import option
from dnal.base.statistics import mean, paired
from dnal.studies.check import Check
from dnal.studies.figures import dots
from dnal.studies.noisy import PEOPLE, Images, noisy_images
from dnal.studies.study import Row, Setting, Size, Sizes, Source, Study
from dnal.studies.training import BATCH, fitted
from dnal.techniques.data_diet import kept, scores_of
from dnal.train.evaluate import accuracy

if TYPE_CHECKING:
    from dnal.report.figure import Figure

SCORES: tuple[Literal["el2n", "forgetting", "random"], ...] = ("el2n", "forgetting", "random")
KEPT = (0.75, 0.5, 0.3)


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
        named: Sequence[str] = () if not self.labels else ("lot",) if self.labels == "by lot" else PEOPLE
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
        network = fitted(_network(images, seed), images.x[chosen], images.y[chosen], self.steps, seed)
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


def _images(study: FewExamplesSuffice, labels: str, seed: int) -> Images:
    """A part of the data, drawn by the seed; the labels are the correct ones, or ``labels``."""
    return noisy_images(study.data, study.labels, labels, study.images, seed)


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


def _auroc(scores: Tensor, positive: Tensor) -> float:
    """How often a positive has the larger score, ties counting half."""
    high, low = scores[positive].numpy(), scores[~positive].numpy()
    return float(stats.mannwhitneyu(high, low).statistic) / (len(high) * len(low)) if len(high) and len(low) else 0.5
