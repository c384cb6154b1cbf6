"""Where networks see images beside their classes before and after removal, on plain and on corrupted images."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torchvision.transforms.v2 import functional

from dnal import models
from dnal.analyses.features import Seen, run, seen_of
from dnal.analyses.flips import flips_of, in_the_lowest
from dnal.analyses.geometry import Geometry, geometry_of
from dnal.base.options import option
from dnal.base.statistics import auroc, mean_of_known, paired
from dnal.data import Dataset, Loaders
from dnal.pipeline.learn import learn
from dnal.pipeline.sparsify import sparsify
from dnal.studies.check import Check
from dnal.studies.figures import curves, number, numbers
from dnal.studies.images import dataset_of, image_loaders
from dnal.studies.study import Row, Setting, Size, Sizes, Source, Study, Value

if TYPE_CHECKING:
    from dnal.report.figure import Figure

METHODS = ("dnal", "magnitude", "uniform")
"""That remove channels."""

TICKETS = "tickets"
"""As large a share of each layer's weights, from those of an early step: as many MACs with weights other than zero."""

SEVERITIES = (1, 2, 3)
ANGLE = 0.9
"""AUROC."""
MOST = 0.6
"""Of the flips."""
NUMERICS = "precision=32-true,memory_format=contiguous"

TINY = {"data": "digits", "model": "vgg_small", "images": 100, "side": 8, "epochs": (1, 1, 1)}

Seens = list[list[tuple[Seen, Geometry]]]
"""Of a network at each severity, from 0, each corruption."""


@dataclass(frozen=True)
class GeometryOfRemoval(Study):
    """Corruption takes the margins, the angle says what is right and the length does not, and what flips lay near.

    A row is a network of a share of the MACs that a method made of one base, or a sparse one of as many MACs with
    weights that are not zero, made of a base of its own that was trained in the same way. Its last features are looked
    at on the test images, plain and under Gaussian noise, blur and loss of contrast in three severities. All networks
    of a seed see the same pixels. Margins are in units of the network's median length on plain images.
    """

    claim = "Angle, length and margin of the last features say which samples are fragile under pruning and corruption."
    source = Source(
        "Z. Li et al., Understanding Robustness Lottery: A Geometric Visual Comparative Analysis of Neural Network "
        "Pruning Approaches (2022)",
        "2206.07918",
        "The measures are read from the abstract and the authors' page; the formulas follow from them, the bounds of "
        "the checks are ours.",
    )
    needs = "CIFAR-10: `data=cifar10` downloads it, `data=FILE.npz` is your own copy."
    differs = (
        "Three methods remove channels, where the paper compares masks and tickets, which are one row here; three "
        "corruptions of a few lines instead of CIFAR-10-C; a small network."
    )
    sizes = Sizes(
        tiny=Size(
            2, "seconds", {"data": "digits", "model": "vgg_small", "images": 200, "side": 8, "epochs": (2, 1, 1)}
        ),
        small=Size(3, "an hour"),
        paper=Size(5, "days", {"images": None, "model": "torchvision/resnet18", "epochs": (100, 50, 150)}),
    )
    data: str = option("cifar10", "A data set by name, or an .npz.")
    model: str = option("cifar/resnet20", "The network.")
    budget: float = option(30.0, "Percent of the MACs.", above=0, most=100)
    epochs: tuple[int, int, int] = option((12, 8, 16), "Of base, choice and retraining.", least=1)
    images: int | None = option(10_000, "For training; none: all.", least=1)
    side: int = option(32, "Pixels of an image's side.", least=1)

    def settings(self) -> Sequence[Setting]:
        return [{"method": method} for method in (*METHODS, TICKETS)]

    def together(self, setting: Setting, seed: int) -> Hashable:
        return seed, setting["method"] == TICKETS

    def row(self, seed: int, method: str) -> dict[str, Value]:
        return _sparse(self, seed) if method == TICKETS else dict(_made(self, seed)[method])

    def checks(self, rows: Sequence[Row]) -> list[Check]:
        steps = [
            max(number(row, f"margin {s}") - number(row, f"margin {s - 1}") for s in SEVERITIES) for row in rows
        ]  # fmt: skip
        of = {
            m: {row["seed"]: 100 * number(row, "corrupted") for row in rows if row["method"] == m}
            for m in (*METHODS, TICKETS)
        }
        return [
            Check("margins fall with each severity", "the least fall of the median margin, lengths",
                  mean_of_known(steps), below=0.0),
            Check("the angle says what is right", "AUROC of the angle", mean_of_known(numbers(rows, "angle")),
                  above=ANGLE),
            Check("and the length says less", "AUROC of the angle minus that of the length",
                  mean_of_known([number(row, "angle") - number(row, "length") for row in rows]), above=0.0),
            Check("what flips lay near a boundary", "share of the flips in the lowest decile of the base's margins",
                  mean_of_known(numbers(rows, "lowest")), above=MOST),
            *(
                Check(f"dnal is more robust than {other}", "accuracy under corruption, dnal minus it, points",
                      paired(of["dnal"], of[other]), above=0.0)
                for other in (*METHODS[1:], TICKETS)
            ),
        ]  # fmt: skip

    def figure(self, rows: Sequence[Row]) -> Figure:
        points = [
            {**row, "severity": severity, "margin": number(row, f"margin {severity}")}
            for row in rows
            for severity in (0, *SEVERITIES)
        ]  # fmt: skip
        return curves(points, "severity", "margin", ["method"], what=("severity", "median margin, median lengths"))

    def imagined(self, row: Row, holds: bool) -> Row:
        noise, sign = 0.001 * (int(row["seed"]) % 3), 1 if holds else -1
        ahead = (0.05 + noise) * sign * (row["method"] == "dnal")
        return row | {
            **{f"margin {s}": 0.5 - (0.1 + noise) * s * sign for s in (0, *SEVERITIES)},
            "angle": 0.95 + noise if holds else 0.6 + noise, "length": 0.7 if holds else 0.8,
            "lowest": 0.7 + noise if holds else 0.3 + noise, "corrupted": 0.6 + ahead,
        }  # fmt: skip


def corrupted(pixels: Tensor, name: str, severity: int, seed: int) -> Tensor:
    """Images (N, C, H, W) from 0 to 1 under "noise", "blur" or "contrast" of severity 1 to 3."""
    if name == "noise":
        noise = torch.randn(pixels.shape, generator=torch.Generator().manual_seed(seed))
        return (pixels + 0.06 * severity * noise).clamp(0, 1)
    if name == "blur":
        blurred: Tensor = functional.gaussian_blur(pixels, [5, 5], [0.5 * severity, 0.5 * severity])
        return blurred
    middle = pixels.mean((1, 2, 3), keepdim=True)
    return middle + (pixels - middle) * (0.75, 0.5, 0.25)[severity - 1]


@lru_cache(maxsize=1)
def _made(study: GeometryOfRemoval, seed: int) -> dict[str, dict[str, Value]]:
    """The rows of the methods that remove channels, all on one base."""
    dataset, base, loaders = _begun(study, seed)
    first = learn(
        base, loaders.train, loaders.val, loaders.test, f"macs<={study.budget:g}%", against=METHODS[1:],
        epochs=study.epochs, seed=seed, numerics=NUMERICS,
    )  # fmt: skip
    before = _seen(base.eval(), dataset, seed)
    found = {"dnal": first, **first.against}
    return {
        method: _row(before, _seen(learned.network, dataset, seed))
        | {"macs_share": round(learned.figures.compact.macs / learned.figures.base.macs, 4)}
        for method, learned in found.items()
    }


def _sparse(study: GeometryOfRemoval, seed: int) -> dict[str, Value]:
    """The row of the tickets. Their network is as large as its base, in which channels may have emptied."""
    dataset, base, loaders = _begun(study, seed)
    learned = sparsify(
        base, loaders.train, loaders.val, loaders.test, study.budget / 100, method="layer-magnitude", rounds=2,
        reset="early", epochs=study.epochs, seed=seed, numerics=NUMERICS,
    )  # fmt: skip
    before, after = _seen(base.eval(), dataset, seed), _seen(learned.network.eval(), dataset, seed)
    share = learned.figures.compact.costs["nonzero_macs"] / learned.figures.base.macs
    return _row(before, after) | {"macs_share": round(share, 4)}


def _begun(study: GeometryOfRemoval, seed: int) -> tuple[Dataset, nn.Module, Loaders]:
    """Data, and a network of new weights, the same ones in all rows of a seed."""
    dataset = dataset_of(study.data, study.images, study.side)
    loaders = image_loaders(study.data, study.images, study.side, seed)
    torch.manual_seed(seed)
    return dataset, models.create(study.model, classes=dataset.classes, input_shape=dataset.input_shape), loaders


def _seen(network: nn.Module, dataset: Dataset, seed: int) -> Seens:
    mean_, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (dataset.mean, dataset.std))
    inputs, targets = dataset.test.batch(torch.arange(len(dataset.test)), 0)
    first = seen_of(network, list(zip(inputs.split(500), targets.split(500), strict=True)), inputs[:2])
    pixels = inputs * std + mean_
    levels = [[first]]
    for severity in SEVERITIES:
        others = [
            (corrupted(pixels, name, severity, seed) - mean_) / std for name in ("noise", "blur", "contrast")
        ]  # fmt: skip
        levels.append(
            [run(network, list(zip(x.split(500), targets.split(500), strict=True)), "test", first.head) for x in others]
        )
    return [[(seen, _geometry(seen)) for seen in level] for level in levels]


def _geometry(seen: Seen) -> Geometry:
    assert seen.features is not None
    assert seen.head is not None
    return geometry_of(seen.features, seen.head.weight, seen.head.bias, seen.targets, seen.logits)


def _row(before: Seens, after: Seens) -> dict[str, Value]:
    (own, plain), scale = before[0][0], after[0][0][1].scale
    said = after[0][0][0]
    flips = flips_of(own.predictions, said.predictions, own.targets)
    every = [pair for level in after for pair in level]
    right = torch.cat([seen.correct for seen, _ in every]).tolist()
    lowest = in_the_lowest(plain.margins, flips.any)
    margins = {
        f"margin {severity}": sum(float(found.margins.median()) / scale for _, found in level) / len(level)
        for severity, level in enumerate(after)
    }
    return {
        "accuracy": round(float(said.correct.double().mean()), 4),
        "corrupted": sum(float(s.correct.double().mean()) for level in after[1:] for s, _ in level) / (len(every) - 1),
        **{name: round(value, 5) for name, value in margins.items()},
        "angle": round(auroc((-torch.cat([g.angles for _, g in every])).tolist(), right).value, 4),
        "length": round(auroc(torch.cat([g.lengths for _, g in every]).tolist(), right).value, 4),
        **flips.counts(), **({} if lowest != lowest else {"lowest": round(lowest, 4)}),
    }  # fmt: skip
