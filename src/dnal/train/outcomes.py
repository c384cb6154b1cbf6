"""What a network makes of each test example, so that two networks can be compared on the same ones."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dnal.base.statistics import Interval, paired_examples
from dnal.base.tensors import raw
from dnal.train.evaluate import IGNORED, Metric, accuracy, over_batches, r2
from dnal.train.loader import Loader
from dnal.train.outputs import logits_of

MOST = 2**20
"""Examples of which each is kept."""
DIGITS = 9
"""Significant ones of a value."""
LARGEST = 1e100
"""A value that is further from zero, whose square no number holds, is not worth an interval."""


@dataclass(frozen=True)
class Outcomes:
    """Of every example a number; their mean is what the metric says of all.

    Attributes:
        values: of top-1 accuracy 1 or 0 (where examples have several targets, the correct ones over the targets of an
            example on average; of a single example, such as a graph, each target stands for one); of R² one minus the
            squared error over the targets' mean squared deviation.
        targets: SHA-256 of the targets in their order: networks are compared where it is the same.
    """

    values: tuple[float, ...]
    targets: str


class _Kind(NamedTuple):
    """How a metric comes apart.

    Attributes:
        of: (outputs (N, ...), targets (N, ...)) -> what is kept of each example, (N, columns); NaN: it does not count.
        values: that of all examples -> their values, (N,).
    """

    of: Callable[[Tensor, Tensor], Tensor]
    values: Callable[[Tensor], Tensor]


def _correct(outputs: Tensor, targets: Tensor) -> Tensor:
    """How many targets of each example are met, and how many count."""
    targets = targets.long()  # unsigned ones would take IGNORED for another number
    counts = targets != IGNORED
    met = (outputs.argmax(1) == targets) & counts
    kept = torch.stack([each.reshape(len(each), -1).sum(1) for each in (met, counts)], 1).double()
    return kept.where(kept[:, 1:] > 0, torch.nan)


def _of_one(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The logits (P, classes) and targets (P,) of one example, (1, classes, ...) and (1, ...)."""
    return outputs.flatten(2)[0].T if outputs.dim() > 2 else outputs, targets.reshape(-1)


def _missed(outputs: Tensor, targets: Tensor) -> Tensor:
    """The squared error of each example, and its targets."""
    targets = targets.double().flatten(1)
    return torch.cat([(outputs.double().flatten(1) - targets).square().sum(1, keepdim=True), targets], 1)


def _explained(kept: Tensor) -> Tensor:
    variance = (kept[:, 1:] - kept[:, 1:].mean(0)).square().sum(1).mean()
    return 1 - kept[:, 0] / variance if variance > 0 else torch.zeros(len(kept))


KINDS: dict[Metric, _Kind] = {
    accuracy: _Kind(_correct, lambda kept: kept[:, 0] / kept[:, 1].mean()),
    r2: _Kind(_missed, _explained),
}
"""The metrics that say something of single examples."""


def outcomes_of(metric: Metric, network: nn.Module, loader: Loader, data: str = "given") -> Outcomes | None:
    """What a network makes of each example; None where the metric says nothing of single ones, where no example counts,
    for more than ``MOST`` of them, and for values beyond ``LARGEST``."""
    kind = next((kind for known, kind in KINDS.items() if known is metric), None)  # a user's need have no hash
    if kind is None:
        return None
    digest, parts, single = hashlib.sha256(), list[Tensor](), list[Tensor]()

    def update(outputs: Tensor, targets: Tensor) -> None:
        digest.update(raw(targets.cpu()))
        outputs = logits_of(outputs)
        parts.append(kind.of(outputs, targets).cpu())
        if metric is accuracy and len(parts) == len(targets) == 1:
            single.append(kind.of(*_of_one(outputs, targets)).cpu())

    over_batches(network, loader, update, data)
    kept = torch.cat(parts) if parts else torch.zeros(0, 1)
    kept = single[0] if single and len(kept) == 1 else kept
    kept = kept[~kept.isnan().any(1)]
    if not 0 < len(kept) <= MOST:
        return None
    values = kind.values(kept)
    if not bool((values.abs() <= LARGEST).all()):
        return None
    return Outcomes(tuple(float(f"{value:.{DIGITS}g}") for value in values.tolist()), digest.hexdigest())


def difference(ours: Outcomes | None, theirs: Outcomes | None) -> Interval | None:
    """The metric of ours minus that of theirs, with its interval over the examples; None where these are not known, not
    the same ones in the same order, or too few."""
    if ours is None or theirs is None or ours.targets != theirs.targets or len(ours.values) != len(theirs.values):
        return None
    found = paired_examples(ours.values, theirs.values)
    return None if math.isnan(found.low) else found
