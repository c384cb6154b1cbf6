"""What a network makes of each test example, so that two networks can be compared on the same ones."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dnal.base.statistics import Interval, paired_examples
from dnal.base.tensors import raw
from dnal.train.evaluate import IGNORED, Metric, accuracy, log_likelihood, log_likelihoods, over_batches, r2
from dnal.train.loader import Loader
from dnal.train.outputs import logits_of
from dnal.train.restored import psnr, psnr_of_each

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
            example on average; of a single example, such as a graph, each target stands for one); of a log-likelihood
            the same sum of logarithms; of R² one minus the
            squared error over the targets' mean squared deviation; of PSNR that of the image, in dB.
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


def _likely(outputs: Tensor, targets: Tensor) -> Tensor:
    """How likely all targets of each example are, as a logarithm, and how many count."""
    kept = torch.stack([each.double() for each in log_likelihoods(outputs, targets)], 1)
    return kept.where(kept[:, 1:] > 0, torch.nan)


KINDS: dict[Metric, _Kind] = {
    accuracy: _Kind(_correct, lambda kept: kept[:, 0] / kept[:, 1].mean()),
    log_likelihood: _Kind(_likely, lambda kept: kept[:, 0] / kept[:, 1].mean()),
    r2: _Kind(_missed, _explained),
    psnr: _Kind(lambda outputs, targets: psnr_of_each(outputs, targets).double().unsqueeze(1), lambda kept: kept[:, 0]),
}
"""The metrics that say something of single examples."""


class Collected:
    """What a metric says of single examples, batch by batch.

    Args:
        metric: one of :data:`KINDS`.
    """

    def __init__(self, metric: Metric) -> None:
        self._kind, self._classes = KINDS[metric], metric is accuracy
        self._digest, self._parts, self._single = hashlib.sha256(), list[Tensor](), list[Tensor]()

    def add(self, outputs: Any, targets: Tensor) -> None:
        """The outputs and targets of a batch."""
        self._digest.update(raw(targets.cpu()))
        outputs = logits_of(outputs)
        self._parts.append(self._kind.of(outputs, targets).cpu())
        if self._classes and len(self._parts) == len(targets) == 1:
            self._single.append(self._kind.of(*_of_one(outputs, targets)).cpu())

    def outcomes(self) -> Outcomes | None:
        """Of all examples; None where none counts, for more than ``MOST`` of them, and for values beyond
        ``LARGEST``."""
        kept = torch.cat(self._parts) if self._parts else torch.zeros(0, 1)
        kept = self._single[0] if self._single and len(kept) == 1 else kept
        kept = kept[~kept.isnan().any(1)]
        if not 0 < len(kept) <= MOST:
            return None
        values = self._kind.values(kept)
        if not bool((values.abs() <= LARGEST).all()):
            return None
        return Outcomes(tuple(float(f"{value:.{DIGITS}g}") for value in values.tolist()), self._digest.hexdigest())


def outcomes_of(metric: Metric, network: nn.Module, loader: Loader, data: str = "given") -> Outcomes | None:
    """What a network makes of each example, in a pass of its own; None where the metric says nothing of single ones,
    and as :meth:`Collected.outcomes`."""
    if not any(known is metric for known in KINDS):  # a user's need have no hash
        return None
    collected = Collected(metric)
    over_batches(network, loader, collected.add, data)
    return collected.outcomes()


def difference(ours: Outcomes | None, theirs: Outcomes | None) -> Interval | None:
    """The metric of ours minus that of theirs, with its interval over the examples; None where these are not known, not
    the same ones in the same order, or too few."""
    if ours is None or theirs is None or ours.targets != theirs.targets or len(ours.values) != len(theirs.values):
        return None
    found = paired_examples(ours.values, theirs.values)
    return None if math.isnan(found.low) else found
