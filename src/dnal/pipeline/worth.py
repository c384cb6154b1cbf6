"""What the MACs that were removed are worth in time: where the time goes, and what other widths would make of it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from dnal.architecture.architecture import Architecture
from dnal.architecture.compact import compact
from dnal.base.errors import UserError
from dnal.costs.deployment import SATISFYING, Deployed
from dnal.selection.select import select
from dnal.selection.widths import LIKED, WidthRule
from dnal.space.space import Space
from dnal.space.surgery.inputs import Inputs

FEWER = 0.97
"""A network with no more than this share of the MACs has fewer."""
MOST_LAYERS = 1000
"""Whose time is told: those that take most."""


@dataclass(frozen=True)
class Tried:
    """A network of the same proportions with other widths: ``divisor`` is what to ask for ("auto" or a number);
    ``speedup`` over the base."""

    divisor: int | str
    macs: float
    speedup: float


@dataclass(frozen=True)
class Worth:
    """What removed MACs are worth, measured where the compact network will run.

    Attributes:
        layers: milliseconds of base and compact network in each module that contains no others, by its path, in the
            order of the forward pass; empty where the backend does not tell.
        tried: empty where the time went nearly as the MACs did, or other widths cannot be asked for.
        speedup: of the compact network, measured in turn with those.
    """

    layers: dict[str, tuple[float, float]] = field(default_factory=dict)
    tried: tuple[Tried, ...] = ()
    speedup: float | None = None

    def document(self) -> dict[str, Any]:
        """As plain values; times to three digits."""
        layers = {path: [float(f"{ms:.3g}") for ms in pair] for path, pair in self.layers.items()}
        tried = [{**asdict(one), "speedup": round(one.speedup, 3)} for one in self.tried]
        return {"layers": layers, "tried": tried, **({} if self.speedup is None else {"speedup": self.speedup})}


def worth_of(
    base: nn.Module,
    small: nn.Module,
    opened: Tensor,
    space: Space,
    deployment: Deployed,
    example: Inputs,
    costs: tuple[Mapping[str, float], Mapping[str, float]],
    divisor: int | str,
) -> Worth | None:
    """What is measured of it.

    Args:
        base, small: in eval mode, as they are handed back. opened: which variables stay, (num_gates,).
        example: inputs. costs: figures of both networks. divisor: of the widths, as it was decided.

    Returns:
        None where hardly any MACs were removed.
    """
    before, after = costs
    share = after["macs"] / before["macs"] if before["macs"] else 1.0
    if share > FEWER:
        return None
    layers = _costliest(deployment.layers([base, small], example))
    worth = share * before["latency_ms"] / after["latency_ms"]
    coarse = not isinstance(divisor, int) or divisor >= LIKED
    if worth >= SATISFYING or coarse:  # no other widths are tried
        return Worth(layers)
    limits, scores = {"macs": share * space.full_cost["macs"]}, proportional(space, opened)
    rules: dict[int | str, WidthRule] = {LIKED: WidthRule(divisor=LIKED), "auto": WidthRule.liked()}
    tried: list[tuple[int | str, float]] = []
    networks, seen = [base, small], [opened.cpu()]
    for name, rule in rules.items():
        try:
            chosen = select(space, scores, limits, rule)
            if any(torch.equal(chosen, other) for other in seen):
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that little is removed: it is only timed
                networks.append(compact(base, Architecture.of(space, chosen), check=False).eval())
        except UserError:  # such widths do not exist within these MACs
            continue
        seen.append(chosen)
        tried.append((name, space.cost_of(chosen)["macs"]))
    if not tried:
        return Worth(layers)
    base_ms, own_ms, *times = deployment.milliseconds(networks, example)
    found = tuple(Tried(name, macs, base_ms / ms) for (name, macs), ms in zip(tried, times, strict=True))
    return Worth(layers, found, round(base_ms / own_ms, 3))


def proportional(space: Space, opened: Tensor) -> Tensor:
    """Scores (num_gates,) that, ranked over the network, keep the proportions of the groups' widths: a group of which
    ``opened`` holds n has -(r + 1/2) / n at rank r, those that are open first. Open branches come first, closed ones
    last."""
    scores = torch.where(opened.cpu(), math.inf, -math.inf).to(torch.float64)
    for group in space.groups:
        own = opened.cpu()[group.variables]
        order = own.to(torch.long).argsort(descending=True, stable=True)
        ranks = torch.arange(group.width, dtype=torch.float64)
        scores[group.variables[order]] = -(ranks + 0.5) / max(1, int(own.sum()))
    return scores


def _costliest(layers: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    chosen = set(sorted(layers, key=lambda path: -max(layers[path]))[:MOST_LAYERS])
    return {path: pair for path, pair in layers.items() if path in chosen}
