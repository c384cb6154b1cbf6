"""Label smoothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from dnal.base.options import option
from dnal.train.outputs import logits_of
from dnal.train.step import Step
from dnal.train.technique import Technique


@dataclass
class LabelSmoothing(Technique):
    """Label smoothing: a share of every target goes to all classes alike.

    (1 - amount) * loss + amount * mean over the classes of -log softmax(logits), which for cross entropy is what
    torch.nn.functional.cross_entropy(label_smoothing=amount) computes. Helps against over-confidence where a network
    can learn its training data by heart; it is said to make a poorer teacher (Mueller et al., arXiv 1906.02629).
    Source: Szegedy et al., arXiv 1512.00567, section 7.
    """

    phases: ClassVar[tuple[str, ...]] = ("base", "retrain")

    amount: float = option(0.1, "Share of a target that goes to all classes.", least=0, below=1)

    def loss(self, value: Tensor, batch: Any, outputs: Any, step: Step) -> Tensor:
        return smoothed(value, logits_of(outputs), self.amount)


def smoothed(value: Tensor, logits: Tensor, amount: float) -> Tensor:
    """The smoothed loss of logits (N, classes, ...) whose loss against the labels is ``value``."""
    return (1 - amount) * value - amount * logits.log_softmax(dim=1).mean()
