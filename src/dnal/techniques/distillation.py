"""Knowledge distillation: a trained network teaches a smaller one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnal.base.errors import UserError, described
from dnal.base.options import option
from dnal.space.surgery.running import call
from dnal.train.step import Step
from dnal.train.technique import Scene, Technique


@dataclass
class Distillation(Technique):
    """Knowledge distillation: the network before removal teaches.

    The loss is (1 - a) task + a T^2 KL(softmax(teacher / T) || softmax(logits / T)). On by default with the default
    loss. Costs a forward pass of the base per step. Helps where the base is good; a weak base teaches its mistakes.
    Sources: Hinton et al., arXiv 1503.02531; a = .9 and T = 4 are those of TAS, arXiv 1905.09717, knowledge transfer.
    """

    phases: ClassVar[tuple[str, ...]] = ("architecture", "retrain")

    temperature: float = option(4.0, "T.", above=0)
    weight: float = option(0.9, "a, the share of the teacher's word in the loss.", least=0, most=1)

    def check(self, outputs: Any) -> None:
        check_logits(outputs)

    def prepare(self, network: nn.Module, scene: Scene) -> None:
        assert scene.base is not None
        self._teacher = scene.base

    def loss(self, value: Tensor, batch: Any, outputs: Any, step: Step) -> Tensor:
        with torch.no_grad():
            word = call(self._teacher, batch[0])
        return distillation_loss(outputs, word, value, temperature=self.temperature, weight=self.weight)


def distillation_loss(
    logits: Tensor, teacher: Tensor, task: Tensor, *, temperature: float = 4.0, weight: float = 0.9
) -> Tensor:
    """(1 - a) task + a T^2 KL(softmax(teacher / T) || softmax(logits / T)), averaged over the batch and, for dense
    predictions, over their positions.

    Args:
        logits, teacher: (N, classes), or (N, classes, ...) with positions such as (H, W) or (L,).
        task: the loss against the labels.
        temperature: T. weight: a.

    Source: TAS, arXiv 1905.09717, knowledge transfer (a = .9, T = 4).
    """
    soft = F.kl_div(
        F.log_softmax(logits / temperature, dim=1),
        F.log_softmax(teacher / temperature, dim=1),
        reduction="batchmean",
        log_target=True,
    )
    soft = soft / math.prod(logits.shape[2:])  # batchmean divides by N alone
    return (1 - weight) * task + weight * temperature**2 * soft


def check_logits(outputs: Any) -> None:
    """Refuses outputs that say nothing of classes.

    Raises:
        UserError: they are not (N, classes, ...).
    """
    if not isinstance(outputs, Tensor) or outputs.dim() < 2 or outputs.shape[1] < 2:
        raise UserError(
            f"a teacher's logits (N, classes, ...) are imitated, not {described(outputs)}; leave distillation out "
            "(without=['distillation']), or let the network return its logits."
        )
