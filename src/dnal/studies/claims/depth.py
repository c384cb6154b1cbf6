"""Whole blocks or only widths? A residual network at a quarter of its MACs, with and without branch variables."""

from __future__ import annotations

import copy
import statistics
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import nn

from dnal import data, models
from dnal.architecture.architecture import Architecture
from dnal.architecture.compact import compact
from dnal.base.options import option
from dnal.base.statistics import mean, paired
from dnal.data.dataset import Dataset
from dnal.latency import measured_ms
from dnal.pipeline.plan import RETRAIN_RATE
from dnal.selection.select import select
from dnal.selection.widths import WidthRule
from dnal.settings import DEFAULT_LR
from dnal.space.space import Space, macs
from dnal.studies.check import Check
from dnal.studies.figures import dots
from dnal.studies.phases import search, train
from dnal.studies.study import Row, Setting, Size, Sizes, Source, Study, Value
from dnal.train.evaluate import accuracy

if TYPE_CHECKING:
    from lightning.fabric import Fabric

    from dnal.report.figure import Figure

TIMED = (("torch-cpu", 1), ("torch-cpu", 32), ("onnxruntime-cpu", 1), ("onnxruntime-cpu", 32))
NO_WORSE = -1.0
"""Points of accuracy."""


@dataclass(frozen=True)
class WholeBlocksPay(Study):
    """Where whole residual blocks may go too, a network of equal MACs is faster and no less accurate.

    Both rows of a seed start from the same trained base, see the same images in the same order and are given the same
    epochs, without distillation. Milliseconds are medians of interleaved runs of the base and both results in one
    process, each batch and backend by itself. Widths are multiples of the option `divisor`: where they may have any
    value, a narrow block costs next to no MACs, and so none is closed.
    """

    claim = "The depth of a network is searched beside its width: each stage may keep fewer of its blocks."
    source = Source(
        "X. Dong, Y. Yang, Network Pruning via Transformable Architecture Search (NeurIPS 2019)",
        "1905.09717",
        "That depth is searched is verified with the authors' code; that it pays in speed is our claim.",
    )
    needs = "CIFAR-10: `data=cifar10` downloads it, `data=FILE.npz` is your own copy. Timing needs the extra `[onnx]`."
    differs = (
        "The method is dnal, whose variables are channels and residual branches; ResNet-20 on 10,000 images, 36 epochs."
    )
    sizes = Sizes(
        tiny=Size(2, "seconds", {"data": "digits", "images": 100, "epochs": (1, 1, 1), "timed": False}),
        small=Size(3, "40 minutes"),
        paper=Size(5, "days", {"images": None, "epochs": (100, 50, 150)}),
    )
    data: str = option("cifar10", "A data set by name, or an .npz.")
    model: str = option("cifar/resnet20", "The residual network.")
    budget: float = option(25.0, "Percent of the MACs.", above=0, most=100)
    divisor: int = option(8, "Of which widths are multiples.", least=1)
    epochs: tuple[int, int, int] = option((12, 8, 16), "Of base, architecture phase and retraining.", least=1)
    images: int | None = option(10_000, "For training; none: all.", least=1)
    batch_size: int = option(128, "Of the training.", least=1)
    precision: str = option("32-true", "Of the training, as Lightning calls it.")
    timed: bool = option(True, "Whether milliseconds are measured.")

    def settings(self) -> Sequence[Setting]:
        return [{"depth": depth} for depth in (0, 1)]

    def together(self, setting: Setting, seed: int) -> Hashable:
        return seed

    def row(self, seed: int, depth: int) -> dict[str, Value]:
        return dict(_pair(self, seed)[depth])

    def checks(self, rows: Sequence[Row]) -> list[Check]:
        of = [{row["seed"]: row for row in rows if row["depth"] == depth} for depth in (0, 1)]
        accuracies = [{seed: 100 * float(row["accuracy"]) for seed, row in own.items()} for own in of]
        speed = []
        for seed in of[0].keys() & of[1].keys():
            ratios = [float(of[0][seed][key]) / float(of[1][seed][key]) for key in _times() if key in of[0][seed]]
            speed += [statistics.fmean(ratios)] if ratios else []
        return [
            Check("no less accurate", "accuracy, with whole blocks minus widths alone, points",
                  paired(accuracies[1], accuracies[0]), above=NO_WORSE),
            Check("faster", "milliseconds of widths alone over those with whole blocks, mean of backends and batches",
                  mean(speed), above=1.0),
        ]  # fmt: skip

    def figure(self, rows: Sequence[Row]) -> Figure:
        named = [row | {"what": "whole blocks too" if row["depth"] else "widths alone"} for row in rows]
        return dots(
            named, ["what"], "accuracy", what="accuracy on the test data",
            caption="A dot is a row, an upright line the mean. Speed is among the checks and in the rows.",
        )  # fmt: skip

    def imagined(self, row: Row, holds: bool) -> Row:
        noise = 0.001 * (int(row["seed"]) % 3)
        depth = int(row["depth"])
        accurate = 0.77 + (0.01 + noise if holds else -0.05 + noise) * depth
        slower = 1 + (-0.2 - noise if holds else 0.2 + noise) * depth
        return row | {"accuracy": accurate} | dict.fromkeys(_times(), slower)


def _times() -> list[str]:
    return [f"{backend} {batch} ms" for backend, batch in TIMED]


@lru_cache(maxsize=1)
def _pair(study: WholeBlocksPay, seed: int) -> list[dict[str, Value]]:
    """What both rows of a seed hold; without and with whole blocks."""
    dataset = data.load(study.data, limit_train=study.images, seed=0)
    fabric, base = _base(study, seed, dataset)
    rows: list[dict[str, Value]] = []
    results = []
    for depth in (False, True):
        torch.manual_seed(1000 + seed)
        network = copy.deepcopy(base)
        space = Space.of(network, torch.zeros(2, *dataset.input_shape), depth=depth)
        limits = {"macs": space.full_cost["macs"] * study.budget / 100}
        widths = WidthRule(divisor=study.divisor)
        scores = search(fabric, network, space, limits, _loader(study, seed, dataset), study.epochs[1], widths=widths)
        architecture = Architecture.of(space, select(space, scores, limits, widths))
        small = compact(network, architecture).to(memory_format=torch.channels_last)
        train(fabric, small, _loader(study, seed, dataset), study.epochs[2], RETRAIN_RATE * DEFAULT_LR)
        results.append(small.eval())
        left = macs(small, torch.zeros(1, *dataset.input_shape)) / space.full_cost["macs"]
        rows.append(
            {
                "model": study.model, "multiple": study.divisor,
                "accuracy": round(_test(small, dataset), 4), "base_accuracy": round(_test(base, dataset), 4),
                "macs_share": round(left, 4), "params": sum(p.numel() for p in small.parameters()),
                "branches": space.num_branches,
                "closed": " ".join(b.name for b in space.branches if not architecture.open[b.variable]),
                "widths": " ".join(str(int(architecture.open[g.variables].sum())) for g in space.groups),
                "threads": torch.get_num_threads(), "precision": study.precision,
                "epochs": "+".join(map(str, study.epochs)), "images": len(dataset.train),
            }
        )  # fmt: skip
    if study.timed:
        _time(rows, [base, *results], dataset)
    return rows


def _base(study: WholeBlocksPay, seed: int, dataset: Dataset) -> tuple[Fabric, nn.Module]:
    from lightning.fabric import Fabric  # seconds, and only who runs it needs it

    fabric = Fabric(accelerator="cpu", devices=1, precision=study.precision)  # type: ignore[arg-type]
    torch.manual_seed(seed)
    base = models.create(study.model, classes=dataset.classes, input_shape=dataset.input_shape)
    base.to(memory_format=torch.channels_last)
    train(fabric, base, _loader(study, seed, dataset), study.epochs[0], DEFAULT_LR, warmup=0.1)
    return fabric, base.eval()


def _loader(study: WholeBlocksPay, seed: int, dataset: Dataset) -> data.EpochLoader:
    return data.loaders(dataset, study.batch_size, seed=seed).train


def _test(network: nn.Module, dataset: Dataset) -> float:
    return accuracy(network, data.loaders(dataset, 500, seed=0).test)


def _time(rows: list[dict[str, Value]], networks: Sequence[nn.Module], dataset: Dataset) -> None:
    """Adds milliseconds of the base and of each row's own network."""
    for backend, batch in TIMED:
        plain = [copy.deepcopy(network).to(memory_format=torch.contiguous_format) for network in networks]
        base_ms, *own = measured_ms(plain, torch.randn(batch, *dataset.input_shape), backend)
        for row, ms in zip(rows, own, strict=True):
            row[f"{backend} {batch} ms"], row[f"{backend} {batch} base ms"] = round(ms, 3), round(base_ms, 3)
