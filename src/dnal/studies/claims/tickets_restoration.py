"""Do few weights of an image restorer keep its quality in every task, if they are put back to their start?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from dnal import data, models
from dnal.base.options import option
from dnal.base.statistics import paired
from dnal.data import Dataset, EpochLoader
from dnal.data.dataset import Chosen, Part
from dnal.data.objective import absolute_error
from dnal.data.restoration.degradations import DEGRADATIONS
from dnal.data.restoration.quality import quality_by_task
from dnal.methods.sparsity.masks import (
    all_of,
    counts_of,
    kept,
    largest,
    largest_of_each,
    of_round,
    random_masks,
    spared,
)
from dnal.pipeline.learn import learn
from dnal.studies.check import Check
from dnal.studies.figures import curves, number
from dnal.studies.study import Row, Setting, Size, Sizes, Source, Study, Value
from dnal.studies.tickets import Trained, Training, kept_shares
from dnal.train.optimizers import optimizer_of
from dnal.train.phase import Phase
from dnal.train.restored import psnr

if TYPE_CHECKING:
    from dnal.report.figure import Figure

TICKET, DENSE, CHANNELS = "ticket", "dense", "learnt channels"
CONTROLS = ("random masks", "redrawn weights")
MARGIN = 0.3
"""Decibels; a loss below is taken for none. Chosen before any row was made."""
WARMUP = 0.125
"""The share of a training in which the learning rate rises: 15 of 120 epochs."""
OPTIMIZER = "adamw"


@dataclass(frozen=True)
class TicketsRestoreImages(Study):
    """A tenth of a multi-task restorer's weights, put back to their start, restores nearly as well as all of them.

    PromptIR learns all tasks at once: noise of three strengths, streaks and haze. Each round masks the same share of
    what is left by magnitude, resets the rest to the initialisation and trains as long as the dense network. Controls
    at each share: random masks with as many weights of each layer, from the same start, and the ticket's masks with
    weights that are drawn again. At the share of the first round, channels that are learnt under a budget of as many
    parameters stand beside the ticket. PSNR is told of each task.
    """

    claim = (
        "An over-parameterised multi-task restoration network can be pruned to about 10 % of its parameters, in rounds "
        "and with reset to the initial weights, and keeps its quality."
    )
    source = Source(
        "T. Katraouras and D. Rafailidis, Pruning Overparameterized Multi-Task Networks for Degraded Web Image "
        "Restoration (WI-IAT 2025)",
        "2510.14463",
        "The procedure was read in the published code; the claim is the abstract's; no number of the paper was seen.",
    )
    needs = (
        "Clean photographs: two ship with scikit-learn (data=photographs); a folder of train/* and test/* too, such as "
        "BSDS500's images (data=BSDS500/data/images), and an .npz with clean_train and clean_test."
    )
    differs = (
        "A network of 98,000 parameters on pieces of 24x24 pixels for a few hundred steps, where the paper trains 35 "
        "million on pieces of 64x64 for 120 epochs; streaks and haze of a few lines instead of Rain100L and RESIDE; "
        "three rounds instead of 15; a threshold for each layer, since after so few steps a single one empties whole "
        "layers, the last one among them. Masks leave out norms, whose scales the paper's code counts as weights; "
        "prompts are reset too, where its code keeps what they learnt, and are never masked. Channels that are learnt "
        "go on from their base, so that the weights that stay had two and a half trainings, those of a ticket "
        "one."
    )
    sizes = Sizes(
        tiny=Size(
            2, "seconds",
            {"images": 20, "tests": 10, "side": 16, "epochs": 1, "rounds": 2, "batch": 10, "channels": False},
        ),
        small=Size(3, "25 minutes of one core"),
        paper=Size(
            3, "weeks",
            {
                "model": "restoration/promptir", "images": None, "tests": None, "side": 64, "epochs": 120, "rounds": 11,
                "keep": 0.086, "lr": 2e-4, "threshold": "network",
            },
        ),
    )  # fmt: skip
    data: str = option("photographs", "A name of `dnal data`, a file or a folder of clean images.")
    model: str = option("restoration/promptir-tiny", "The network.")
    images: int | None = option(800, "Pieces for training, over all tasks; none: all.", least=5)
    tests: int | None = option(400, "Pieces for testing, over all tasks; none: all.", least=5)
    side: int = option(24, "Height and width of a piece.", least=16)
    epochs: int = option(6, "Of each training.", least=1)
    rounds: int = option(3, "From all weights to the share that stays.", least=1, most=50)
    keep: float = option(0.1, "Share of the weights that stays in the end.", above=0, below=1)
    threshold: Literal["layer", "network"] = option("layer", "One for each layer, or one for all of them.")
    lr: float = option(2e-3, "Peak learning rate of AdamW.", above=0)
    batch: int = option(16, "Pieces per step.", least=2)
    channels: bool = option(True, "Whether channels that are learnt stand beside the ticket.")

    def shares(self) -> list[float]:
        """Of the weights, after each round."""
        return kept_shares(self.keep, self.rounds)

    def settings(self) -> Sequence[Setting]:
        masked: list[Setting] = [
            {"kind": kind, "keep": share} for share in self.shares() for kind in (TICKET, *CONTROLS)
        ]
        learnt: list[Setting] = [{"kind": CHANNELS, "keep": self.shares()[0]}] if self.channels else []
        return [{"kind": DENSE, "keep": 1.0}, *masked, *learnt]

    def together(self, setting: Setting, seed: int) -> Any:
        return seed

    def row(self, seed: int, kind: str, keep: float) -> Mapping[str, Value]:
        number = 0 if kind == DENSE else 1 + self.shares().index(keep)
        found = _ticket(self, number, seed)
        total = sum(parameter.numel() for parameter in found.network.parameters())
        params = (total - sum(int((~mask).sum()) for mask in found.masks.values())) / total
        network, stays = found.network, kept(found.masks)
        if kind == CONTROLS[0]:
            draw = torch.Generator().manual_seed(1000 * seed + number)
            masks = random_masks(counts_of(found.masks), all_of(found.masks), draw)
            network = _training(self).run(seed, masks, _ticket(self, 0, seed).early).network
        elif kind == CONTROLS[1]:
            network = _training(self).run(seed, found.masks, _network(self, 10_000 + seed).state_dict()).network
        elif kind == CHANNELS:
            network, params = _learnt(self, seed, params)
            stays = params
        return {"kept": round(stays, 5), "params": round(params, 5), **_quality(network, _dataset(self))}

    def checks(self, rows: Sequence[Row]) -> list[Check]:
        def of(kind: str, keep: float, column: str = "psnr") -> dict[int, float]:
            own = [row for row in rows if row["kind"] == kind and float(row["keep"]) == keep and column in row]
            return {int(row["seed"]): float(row[column]) for row in own}

        shares = sorted({float(row["keep"]) for row in rows if row["kind"] == TICKET}, reverse=True)
        checks = [
            Check("the dense network restores", "PSNR, dense minus degraded, dB",
                  paired(of(DENSE, 1.0), of(DENSE, 1.0, "degraded")), above=0.0),
        ]  # fmt: skip
        for share in shares:
            where = f"{100 * share:.3g} % of the weights"
            checks += [
                Check(f"a ticket beats {kind}, {where}", f"PSNR, ticket minus {kind}, dB",
                      paired(of(TICKET, share), of(kind, share)), above=0.0)
                for kind in CONTROLS
            ]  # fmt: skip
            checks.append(
                Check(f"a ticket costs less than {MARGIN:g} dB, {where}", "PSNR, ticket minus dense, dB",
                      paired(of(TICKET, share), of(DENSE, 1.0)), above=-MARGIN)
            )  # fmt: skip
        if shares:
            learnt = of(CHANNELS, shares[0])
            checks += [
                Check(f"in {task} too, {100 * shares[-1]:.3g} % of the weights", "PSNR, ticket minus random masks, dB",
                      paired(of(TICKET, shares[-1], task), of(CONTROLS[0], shares[-1], task)), above=0.0)
                for task in DEGRADATIONS
            ]  # fmt: skip
            if learnt:
                checks.append(
                    Check("a ticket beats channels that are learnt, as many parameters",
                          "PSNR, ticket minus learnt channels, dB", paired(of(TICKET, shares[0]), learnt), above=0.0)
                )  # fmt: skip
        return checks

    def figure(self, rows: Sequence[Row]) -> Figure:
        dense = [{**row, "kind": kind} for row in rows if row["kind"] == DENSE for kind in (TICKET, *CONTROLS)]
        others = [row for row in rows if row["kind"] != DENSE]
        own = [{**row, "percent": 100 * number(row, "kept")} for row in (*dense, *others)]
        what = ("weights or parameters left, %", "PSNR over all tasks, dB")
        return curves(own, "percent", "psnr", ["kind"], what=what, log=True)

    def imagined(self, row: Row, holds: bool) -> Row:
        noise = 0.01 * (int(row["seed"]) % 3)
        level = {DENSE: 25.0 if holds else 14.0, TICKET: (25.0 if holds else 10.0) + noise}
        found = level.get(str(row["kind"]), 22.0 if holds else 12.0)
        return row | {"psnr": found, "degraded": 15.0 - noise, **dict.fromkeys(DEGRADATIONS, found)}


@lru_cache(maxsize=64)
def _ticket(study: TicketsRestoreImages, number: int, seed: int) -> Trained:
    """The network after a round, of which 0 is the dense one; rounds of a seed follow from one another."""
    if not number:
        return _training(study).run(seed)
    before, dense = _ticket(study, number - 1, seed), _ticket(study, 0, seed)
    choose = largest_of_each if study.threshold == "layer" else largest
    masks = choose(_weights(before.network), of_round(study.keep, number, study.rounds), before.masks)
    return _training(study).run(seed, masks, dense.early)


def _training(study: TicketsRestoreImages) -> Training:
    return Training(
        network=lambda seed: _network(study, seed),
        batches=lambda seed: _loader(study, seed),
        phase=Phase("base", study.epochs, study.lr, WARMUP, optimizer=optimizer_of(OPTIMIZER)),
        loss=absolute_error, weights=_weights, early=0.0,
    )  # fmt: skip


def _learnt(study: TicketsRestoreImages, seed: int, params: float) -> tuple[nn.Module, float]:
    """A network with channels that are learnt under a budget of this share of the parameters, and the share that it
    has. Its base is trained as the dense network is, and what is left for as long again."""
    dataset = _dataset(study)
    val, test = (EpochLoader(_few(part, study.tests), 100) for part in (dataset.val, dataset.test))
    found = learn(
        _network(study, seed), _loader(study, seed), val, test, f"params<={100 * params:.2f}%",
        epochs=(study.epochs, max(1, study.epochs // 2), study.epochs), lr=study.lr, optimizer=OPTIMIZER,
        loss=absolute_error, metric=psnr, seed=seed, numerics="precision=32-true,memory_format=contiguous",
    )  # fmt: skip
    return found.network, found.figures.compact.params / found.figures.base.params


def _quality(network: nn.Module, dataset: Dataset) -> dict[str, Value]:
    found = quality_by_task(network, dataset.test)
    count = len(found)
    return {
        "psnr": round(sum(one.psnr for one in found.values()) / count, 4),
        "ssim": round(sum(one.ssim or 0.0 for one in found.values()) / count, 5),
        "degraded": round(sum(one.degraded_psnr for one in found.values()) / count, 4),
        **{task: round(one.psnr, 4) for task, one in found.items()},
    }


@lru_cache(maxsize=1)
def _dataset(study: TicketsRestoreImages) -> Dataset:
    found = data.load(study.data, input_shape=(3, study.side, study.side), limit_train=study.images)
    return replace(found, test=_few(found.test, study.tests))


def _few(part: Part, most: int | None) -> Part:
    """Pieces from all over a part, each in all tasks."""
    tasks = len(DEGRADATIONS)
    pieces = len(part) // tasks
    if most is None or most >= len(part):
        return part
    chosen = torch.arange(max(1, most // tasks)) * pieces // max(1, most // tasks)
    return Chosen(part, (chosen[:, None] * tasks + torch.arange(tasks)).flatten())


def _loader(study: TicketsRestoreImages, seed: int) -> EpochLoader:
    """Training batches at their first epoch."""
    return EpochLoader(_dataset(study).train, study.batch, seed=seed, shuffle=True)


def _network(study: TicketsRestoreImages, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return models.create(study.model, input_shape=(3, study.side, study.side))


def _weights(network: nn.Module) -> dict[str, Tensor]:
    """Of layers; prompts are none."""
    apart = spared(network)
    return {
        name: weight.detach() for name, weight in network.named_parameters() if weight.dim() > 1 and name not in apart
    }
