"""Does descent in an embedding of networks find sparse ones that are as good as dense ones trained by Adam?"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnal.base.options import option
from dnal.base.statistics import mean, paired
from dnal.methods.sparsity.masks import largest
from dnal.search import MLPSpace, train_embedding
from dnal.search.embedding.autoencoder import Autoencoder
from dnal.search.embedding.descent import descended, network_of
from dnal.search.embedding.trained import explained
from dnal.studies.check import Check
from dnal.studies.figures import dots, number
from dnal.studies.study import Row, Setting, Size, Sizes, Source, Study
from dnal.train.schedule import cosine

if TYPE_CHECKING:
    from dnal.report.figure import Figure

TARGETS: dict[str, Callable[[Tensor], Tensor]] = {
    "wave": lambda x: torch.sin(math.pi * x[:, 0]) * x[:, 1],
    "bowl": lambda x: x[:, 0].square() + x[:, 1],
    "bell": lambda x: torch.exp(-4 * x.square().sum(1)),
    "saddle": lambda x: x[:, 0] * x[:, 1],
}
"""Of points of the square between -1 and 1. The first two are in the manner of CORNN's, all are ours."""
FOUND, UNTRAINED, DENSE, PRUNED = "descent", "descent, untrained embedding", "dense, Adam", "dense, then pruned"
WORSE = 3.0
"""So many times the mean squares of the dense network are taken for comparable. Chosen before any row was made."""
RATE = 1e-2
"""Of Adam, for the dense networks."""
Key = tuple[str, int]
"""Target and seed."""


class Parts(NamedTuple):
    """Points (N, 2) and values (N,), of which none are noisy."""

    x: Tensor
    y: Tensor
    x_val: Tensor
    y_val: Tensor
    x_test: Tensor
    y_test: Tensor


@dataclass(frozen=True)
class DescentFindsSparseNetworks(Study):
    """Descent in a trained embedding finds sparse MLPs nearly as exact as dense ones, and better than pruned ones.

    Functions of two numbers are learnt from points. Each seed trains an embedding; the best of some descents, by
    validation points, is made hard and measured. Controls: the same descents in an embedding that was not trained, so
    that whatever is found owes nothing to it; a dense MLP of the largest size, the best of as many starts by validation
    points, each trained by Adam for as many steps; and that one pruned by magnitude to as many weights as the descent
    left, and trained on.
    """

    claim = (
        "Architecture and weights can be optimised at once by gradient descent in a continuous embedding, which "
        "discovers sparse and compact networks of high performance."
    )
    source = Source(
        "D. Huang, M. Montazerin and A. Srivastava, Simultaneous Weight and Architecture Optimization for Neural "
        "Networks (FITML at NeurIPS 2024)",
        "2410.08339",
        "The claim is a paraphrase of the abstract; the paper's constants were not seen. Loss and descent follow the "
        "published code of its successor SWAT-NN (arXiv 2506.08270), whose claims are about CORNN's 54 functions.",
    )
    needs = "nothing: points and values are computed"
    differs = (
        "Four functions of ours instead of CORNN's, whose formulas we did not have; small transformers instead of "
        "GPT-2; fewer and smaller networks; pruning by magnitude instead of DARTS with ADMM; an untrained embedding as "
        "control."
    )
    sizes = Sizes(
        tiny=Size(2, "seconds", {"width": 2, "features": 8, "training": 10, "steps": 16, "descents": 1, "points": 32}),
        small=Size(3, "25 minutes of one core"),
        paper=Size(5, "days", {"width": 7, "depth": 4, "features": 768, "training": 2_500_000, "steps": 8000,
                                "points": 1000}),
    )  # fmt: skip
    width: int = option(5, "Neurons of a layer, at most.", least=2)
    depth: int = option(2, "Hidden layers, at most.", least=1)
    features: int = option(64, "Numbers in a row of a point of the embedding.", least=4)
    training: int = option(10_000, "Steps in which the embedding is trained.", least=1)
    steps: int = option(1500, "Of a descent, and of the dense network.", least=8)
    descents: int = option(4, "Of which the best is taken; as many starts of the dense network.", least=1)
    points: int = option(300, "For training; as many for validation, and for testing.", least=8)

    def settings(self) -> Sequence[Setting]:
        return [{"target": target, "kind": kind} for target in TARGETS for kind in (FOUND, UNTRAINED, DENSE, PRUNED)]

    def together(self, setting: Setting, seed: int) -> Hashable:
        return seed  # all rows of a seed need its embedding

    def row(self, seed: int, target: str, kind: str) -> dict[str, Any]:
        parts = _parts(self, target, seed)
        if kind in (FOUND, UNTRAINED):
            network = _found(self, target, seed, trained=kind == FOUND)
        elif kind == DENSE:
            network = _dense(self, target, seed)
        else:
            network = _pruned(self, target, seed)
        weights = [layer.weight for layer in network.modules() if isinstance(layer, nn.Linear)]
        left = sum(int((weight != 0).sum()) for weight in weights)
        with torch.no_grad():
            error = float((network(parts.x_test)[:, 0] - parts.y_test).square().mean())
        return {
            "error": error / float(parts.y_test.var(correction=0)), "weights": left,
            "zeros": 1 - left / _most(self, len(weights) - 1), "explained": _explained(self, seed),
        }  # fmt: skip

    def checks(self, rows: Sequence[Row]) -> list[Check]:
        def of(kind: str, column: str) -> dict[Key, float]:
            return {
                (str(row["target"]), int(row["seed"])): number(row, column) for row in rows if row["kind"] == kind
            }  # fmt: skip

        def logs(kind: str) -> dict[Key, float]:
            return {key: math.log(max(value, 1e-12)) for key, value in of(kind, "error").items()}

        what = "log of the mean squares, descent minus"
        return [
            Check("most of the weights are zero", "share of the weights that are zero, of a dense network as deep",
                  mean([*of(FOUND, "zeros").values()]), above=0.5),
            Check(f"no more than {WORSE:g} times the error of a dense network", f"{what} {DENSE}",
                  paired(logs(FOUND), logs(DENSE)), below=math.log(WORSE)),
            Check("better than pruned to as many weights", f"{what} {PRUNED}",
                  paired(logs(FOUND), logs(PRUNED)), below=0.0),
            Check("the training of the embedding matters", f"{what} {UNTRAINED}",
                  paired(logs(FOUND), logs(UNTRAINED)), below=0.0),
            Check("decoded networks compute what the encoded ones do", "R² on unseen networks, median",
                  mean([*{int(row["seed"]): number(row, "explained") for row in rows}.values()]), above=0.7),
        ]  # fmt: skip

    def figure(self, rows: Sequence[Row]) -> Figure:
        own = [{**row, "log": math.log10(max(number(row, "error"), 1e-12))} for row in rows]
        return dots(
            own, ["target", "kind"], "log", what="log10 of the share of the variance that is missed, test points"
        )

    def imagined(self, row: Row, holds: bool) -> Row:
        noise = 1 + 0.01 * (int(row["seed"]) % 3)
        errors = {FOUND: 0.02 if holds else 0.5, DENSE: 0.02, PRUNED: 0.1, UNTRAINED: 0.1}
        return {
            **row, "error": errors[str(row["kind"])] * noise, "zeros": 0.8 if holds else 0.2,
            "explained": 0.9 if holds else 0.1,
        }  # fmt: skip


def _space(study: DescentFindsSparseNetworks) -> MLPSpace:
    return MLPSpace(
        width=study.width, depth=study.depth, features=study.features, training=study.training, steps=study.steps
    )


@lru_cache(maxsize=2)
def _embedding(study: DescentFindsSparseNetworks, seed: int, trained: bool) -> Autoencoder:
    if trained:
        return train_embedding(_space(study), seed=seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Autoencoder(study.width, study.depth, study.features).eval()


@lru_cache(maxsize=2)
def _explained(study: DescentFindsSparseNetworks, seed: int) -> float:
    return explained(_embedding(study, seed, True), study.width)


def _parts(study: DescentFindsSparseNetworks, target: str, seed: int) -> Parts:
    draw = torch.Generator().manual_seed(1000 + seed)
    x = [2 * torch.rand(study.points, 2, generator=draw) - 1 for _ in range(3)]
    return Parts(*(each for part in x for each in (part, TARGETS[target](part))))


@lru_cache(maxsize=64)
def _found(study: DescentFindsSparseNetworks, target: str, seed: int, *, trained: bool) -> nn.Module:
    """The best of the descents, by validation points."""
    parts, networks = _parts(study, target, seed), []
    for place in range(study.descents):
        depth = place % study.depth + 1
        found = descended(
            _embedding(study, seed, trained), parts.x, parts.y, depth, _space(study), 1_000_003 * seed + place
        )
        networks.append(network_of(found.networks, torch.ones(2), 1.0)[1])
    return _best(networks, parts)


@lru_cache(maxsize=64)
def _dense(study: DescentFindsSparseNetworks, target: str, seed: int) -> nn.Module:
    """The best of as many starts as there are descents, by validation points."""
    networks = []
    for place in range(study.descents):
        torch.manual_seed(1_000_003 * seed + place)
        layers: list[nn.Module] = []
        for into in (2, *[study.width] * (study.depth - 1)):
            layers += [nn.Linear(into, study.width), nn.Tanh()]
        networks.append(_trained(study, nn.Sequential(*layers, nn.Linear(study.width, 1)), target, seed, {}))
    return _best(networks, _parts(study, target, seed))


def _best(networks: Sequence[nn.Module], parts: Parts) -> nn.Module:
    """That which misses least of the validation points."""
    with torch.no_grad():
        return min(networks, key=lambda network: float(F.mse_loss(network(parts.x_val)[:, 0], parts.y_val)))


def _pruned(study: DescentFindsSparseNetworks, target: str, seed: int) -> nn.Module:
    """The dense network with as many weights as the descent left, the largest, trained for half as long again."""
    found, dense = _found(study, target, seed, trained=True), _dense(study, target, seed)
    left = sum(int((p != 0).sum()) for p in found.parameters() if p.dim() > 1)
    network = copy.deepcopy(dense)
    weights = {name: p.detach() for name, p in network.named_parameters() if p.dim() > 1}
    share = min(1.0, max(left, 1) / _most(study, study.depth))
    return _trained(study, network, target, seed, largest(weights, share))


def _trained(
    study: DescentFindsSparseNetworks, network: nn.Module, target: str, seed: int, masks: dict[str, Tensor]
) -> nn.Module:
    """A network trained by Adam on all points at once; what masks leave out stays zero."""
    parts = _parts(study, target, seed)
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE)
    named = dict(network.named_parameters())
    steps = study.steps // 2 if masks else study.steps
    for step in range(steps + 1):
        with torch.no_grad():
            for name, mask in masks.items():
                named[name].mul_(mask)
        if step == steps:
            break
        optimizer.param_groups[0]["lr"] = cosine(step / steps, RATE, 0.05)
        optimizer.zero_grad()
        F.mse_loss(network(parts.x)[:, 0], parts.y).backward()
        optimizer.step()
    return network.eval()


def _most(study: DescentFindsSparseNetworks, depth: int) -> int:
    """Weights of a dense network of so many hidden layers."""
    return study.width * (2 + study.width * (depth - 1) + 1)
