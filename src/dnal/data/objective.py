"""What targets are, and what follows from that: the default loss, the default metric, how that is said."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from dnal.train.average_precision import average_precision
from dnal.train.evaluate import Metric, log_likelihood, perplexity_of, r2
from dnal.train.outputs import logits_of, with_aux_loss
from dnal.train.phase import Loss
from dnal.train.restored import psnr


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """The mean squared error, and what the network adds to it.

    Args:
        outputs: (N, T), or a mapping with them as ``logits``, and perhaps an ``aux_loss``. targets: (N, T).
    """
    return with_aux_loss(F.mse_loss(logits_of(outputs), targets), outputs)


def absolute_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """The mean absolute error.

    Args:
        outputs, targets: images (N, C, H, W).
    """
    return F.l1_loss(outputs, targets)


@dataclass(frozen=True)
class Objective:
    """What is to be learnt from data.

    Attributes:
        loss, metric: as :func:`dnal.learn` takes them; None: its own, cross entropy and top-1 accuracy.
        figure: what the metric is called in files. words: and for people.
        is_share: it is from 0 to 1, and said in percent.
        lr: the peak learning rate of a job by name where none was asked for; None: that of every job. A squared error
            is steeper than cross entropy.
        answers: what a network says one number for, and several of them.
        of_tokens: the metric is a log-likelihood, beside which its perplexity is said.
    """

    name: str
    loss: Loss | None = None
    metric: Metric | None = None
    figure: str = "accuracy"
    words: str = "accuracy"
    is_share: bool = True
    lr: float | None = None
    answers: tuple[str, str] = ("class", "classes")
    of_tokens: bool = False

    @property
    def factor(self) -> float:
        """From the metric to what is shown."""
        return 100.0 if self.is_share else 1.0

    @property
    def unit(self) -> str:
        """Of what is shown."""
        return "%" if self.is_share else ""

    def shown(self, value: float | None) -> str:
        """The metric for people."""
        if value is None:
            return "-"
        if self.of_tokens:
            return f"{value:.4f} (perplexity {perplexity_of(value):.4g})"
        return f"{100 * value:.2f} %" if self.is_share else f"{value:.4f}"

    def change(self, old: float | None, new: float | None) -> str:
        """From the metric of the base to that of what became of it."""
        if old is None or new is None:
            return ""
        return f"{100 * (new - old):+.2f} points" if self.is_share else f"{new - old:+.4f}"


CLASSIFICATION = Objective("classification")
NEXT = Objective("next-token")
LANGUAGE = Objective(
    "language", None, log_likelihood, "log_likelihood", "log-likelihood of a token", is_share=False, of_tokens=True,
    answers=("token", "tokens"),
)  # fmt: skip
NEXT_EVENT = Objective("next-event", None, average_precision, "average_precision", "average precision")
REGRESSION = Objective(
    "regression", squared_error, r2, "r2", "R²", is_share=False, lr=0.01,
    answers=("target of regression", "targets of regression"),
)  # fmt: skip
RESTORATION = Objective(
    "restoration", absolute_error, psnr, "psnr", "PSNR in dB", is_share=False, lr=0.01,
    answers=("channel to restore", "channels to restore"),
)  # fmt: skip
OBJECTIVES = {
    objective.name: objective for objective in (CLASSIFICATION, NEXT, LANGUAGE, REGRESSION, RESTORATION, NEXT_EVENT)
}
