"""Do the weights that stay owe what they reach to where they stand, and to the values they started from?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnal import models
from dnal.base.options import option
from dnal.base.statistics import paired
from dnal.methods.sparsity.masks import all_of, counts_of, kept, largest, of_round, random_masks
from dnal.studies.check import Check
from dnal.studies.figures import curves
from dnal.studies.images import image_loaders
from dnal.studies.study import Row, Setting, Size, Sizes, Source, Study
from dnal.studies.tickets import Trained, Training, kept_shares, matrices
from dnal.train.evaluate import accuracy
from dnal.train.phase import Phase

if TYPE_CHECKING:
    from dnal.report.figure import Figure

KINDS = ("ticket", "random masks", "redrawn weights")
EARLY = 0.03
"""Where the early step is, as a share of the base's."""
MARGIN = 1.0
"""Points of accuracy; a loss below is taken for none. Chosen before any row was made."""


@dataclass(frozen=True)
class TicketsBeatControls(Study):
    """Weights found by iterative magnitude pruning, put back to their start, beat random ones and redrawn values.

    At each share of the weights three networks are trained for as long as the dense one: the ticket; one with random
    masks that keep as many weights of each layer, from the same start; and one with the ticket's masks and weights that
    are drawn again. The controls are part of the claim: a ticket that is no better than random masks owes what it
    reaches to how many weights each layer has.
    """

    claim = (
        "Dense, randomly initialised networks contain subnetworks that, trained in isolation from their original "
        "initialisation, reach a test accuracy comparable to the whole network's; reinitialised, they do not."
    )
    source = Source(
        "J. Frankle and M. Carbin, The Lottery Ticket Hypothesis (ICLR 2019)",
        "1803.03635",
        "Claim and procedure are recalled, with the early step of J. Frankle et al., arXiv 1912.05671; the masks are "
        "compared with torch's own pruning in our tests.",
    )
    needs = (
        "CIFAR-10, by `dnal data` or as a file (tickets:data=cifar10.npz); the tiny size takes scikit-learn's digits."
    )
    differs = (
        "A small VGG on 4,000 images of 16x16 for a few epochs instead of larger networks on all of CIFAR-10 for 160; "
        "five rounds from 100 to 5 % instead of rounds of 20 %; weights go back to 3 % of the steps."
    )
    sizes = Sizes(
        tiny=Size(2, "seconds", {"data": "digits", "images": 100, "side": 8, "epochs": 1, "rounds": 2}),
        small=Size(3, "25 minutes of one core"),
        paper=Size(5, "days", {"images": 45_000, "side": 32, "epochs": 160, "rounds": 14}),
    )
    data: str = option("cifar10", "A name of `dnal data`, or a file.")
    images: int = option(4000, "For training.", least=50)
    side: int = option(16, "Height and width of the images.", least=8)
    epochs: int = option(8, "Of each training.", least=1)
    rounds: int = option(5, "From all weights to the share that stays.", least=1, most=50)
    keep: float = option(0.05, "Share of the weights that stays in the end.", above=0, below=1)

    def shares(self) -> list[float]:
        """Of the weights, after each round."""
        return kept_shares(self.keep, self.rounds)

    def settings(self) -> Sequence[Setting]:
        dense: list[Setting] = [{"kind": "dense", "keep": 1.0}]
        masked: list[Setting] = [{"kind": kind, "keep": share} for share in self.shares() for kind in KINDS]
        return [*dense, *masked]

    def together(self, setting: Setting, seed: int) -> Any:
        return seed

    def row(self, seed: int, kind: str, keep: float) -> dict[str, Any]:
        number = 0 if kind == "dense" else 1 + self.shares().index(keep)
        found = _ticket(self, number, seed)
        if kind == "random masks":
            dense, draw = _ticket(self, 0, seed), torch.Generator().manual_seed(1000 * seed + number)
            masks = random_masks(counts_of(found.masks), all_of(found.masks), draw)
            found = _trained(self, seed, masks, dense.early)
        elif kind == "redrawn weights":
            found = _trained(self, seed, found.masks, _network(self, 10_000 + seed).state_dict())
        test = image_loaders(self.data, self.images, self.side, seed).test
        return {"accuracy": round(accuracy(found.network, test), 4), "kept": round(kept(found.masks), 5)}

    def checks(self, rows: Sequence[Row]) -> list[Check]:
        def of(kind: str, keep: float) -> dict[int, float]:
            own = [row for row in rows if row["kind"] == kind and float(row["keep"]) == keep]
            return {int(row["seed"]): 100 * float(row["accuracy"]) for row in own}

        shares = sorted({float(row["keep"]) for row in rows if row["kind"] == "ticket"}, reverse=True)
        checks = []
        for share in shares:
            where = f"{100 * share:.3g} % of the weights"
            checks += [
                Check(
                    f"a ticket beats {kind}, {where}", f"accuracy, ticket minus {kind}, points",
                    paired(of("ticket", share), of(kind, share)), above=0.0,
                )
                for kind in KINDS[1:]
            ]  # fmt: skip
            checks.append(
                Check(
                    f"a ticket costs less than a point, {where}", "accuracy, ticket minus dense, points",
                    paired(of("ticket", share), of("dense", 1.0)), above=-MARGIN,
                )
            )  # fmt: skip
        return checks

    def figure(self, rows: Sequence[Row]) -> Figure:
        dense = [row for row in rows if row["kind"] == "dense"]
        groups = [row for row in rows if row["kind"] != "dense"]
        whole = [{**row, "kind": kind} for row in dense for kind in KINDS]
        own = [{**row, "percent": 100 * float(row["keep"])} for row in (*whole, *groups)]
        what = ("weights that stay, %", "accuracy on the test data")
        return curves(own, "percent", "accuracy", ["kind"], what=what, log=True)

    def imagined(self, row: Row, holds: bool) -> Row:
        noise = 0.001 * (int(row["seed"]) % 3)
        if row["kind"] == "ticket":
            return row | {"accuracy": 0.7 + noise + (0.0 if holds else -0.2)}
        return row | {"accuracy": 0.7 if row["kind"] == "dense" else 0.6}


@lru_cache(maxsize=64)
def _ticket(study: TicketsBeatControls, number: int, seed: int) -> Trained:
    """The network after a round, of which 0 is the dense one; rounds of a seed follow from one another."""
    if not number:
        return _trained(study, seed, None, None)
    before, dense = _ticket(study, number - 1, seed), _ticket(study, 0, seed)
    share = of_round(study.keep, number, study.rounds)
    return _trained(study, seed, largest(matrices(before.network), share, before.masks), dense.early)


def _trained(
    study: TicketsBeatControls, seed: int, masks: Mapping[str, Tensor] | None, start: Mapping[str, Tensor] | None
) -> Trained:
    training = Training(
        network=lambda own: _network(study, own),
        batches=lambda own: image_loaders(study.data, study.images, study.side, own).train,
        phase=Phase("base", study.epochs, 0.1, 0.1), loss=F.cross_entropy, weights=matrices, early=EARLY,
    )  # fmt: skip
    return training.run(seed, masks, start)


def _network(study: TicketsBeatControls, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    channels = 1 if study.data == "digits" else 3
    return models.create("vgg_small", classes=10, input_shape=(channels, study.side, study.side))
