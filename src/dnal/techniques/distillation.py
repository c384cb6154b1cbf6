"""Knowledge distillation: a trained network teaches a smaller one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnal.base.errors import UserError, described
from dnal.base.options import option
from dnal.space.surgery.running import call
from dnal.train.outputs import logits_of
from dnal.train.step import Step
from dnal.train.technique import Scene, Technique


@dataclass
class Distillation(Technique):
    """Knowledge distillation: the network before removal teaches.

    The loss is (1 - a) task + a T^2 KL(softmax(teacher / T) || softmax(logits / T)). On by default with the default
    loss. Costs a forward pass of the base per step. Helps where the base is good; a weak base teaches its mistakes, so
    that a teacher is heard as much as it knows. Sources: Hinton et al., arXiv 1503.02531; a = .9 and T = 4 are those of
    TAS, arXiv 1905.09717, knowledge transfer; `heard` and `fades` are ours.
    """

    phases: ClassVar[tuple[str, ...]] = ("architecture", "retrain")

    temperature: float = option(4.0, "T.", above=0)
    weight: float = option(0.9, "a, the share of the teacher's word in the loss.", least=0, most=1)
    heard: Literal["always", "known", "right", "better"] = option(
        "known",
        "When the teacher's word counts: always; as much as it knows, a (1 - L / log classes)^3 with its loss L on the "
        "batch; for examples that it has right; or for those whose class it finds likelier than the network does.",
    )
    fades: bool = option(False, "Whether a falls on a line to 0 over each phase.")

    def check(self, outputs: Any) -> None:
        check_logits(outputs)

    def prepare(self, network: nn.Module, scene: Scene) -> None:
        assert scene.base is not None
        self._teacher = scene.base

    def loss(self, value: Tensor, batch: Any, outputs: Any, step: Step) -> Tensor:
        with torch.no_grad():
            said = call(self._teacher, batch[0])
            word = logits_of(said)
        logits = logits_of(outputs)
        weight: Tensor | float = self.weight * (1 - step.progress) if self.fades else self.weight
        heard = None
        if self.heard == "known":
            with torch.no_grad():
                weight = weight * knowledge(step.task_loss(said, batch[1]), word.shape[1])
        elif self.heard != "always":
            heard = HEARD[self.heard](logits.detach(), word, batch[1])
        return distillation_loss(logits, word, value, temperature=self.temperature, weight=weight, heard=heard)


def knowledge(loss: Tensor, classes: int) -> Tensor:
    """How much a teacher knows, from 0, no more than chance, to 1: (1 - L / log C)^3.

    Args:
        loss: L, its mean negative log likelihood of the targets, a scalar. classes: C; of a single one nothing is to be
            known.
    """
    return (1 - loss / math.log(classes)).clamp(0, 1) ** 3 if classes > 1 else torch.zeros_like(loss)


def teacher_is_right(logits: Tensor, teacher: Tensor, targets: Tensor) -> Tensor:
    """Where the teacher's likeliest class is the target, (N, ...) of bools.

    Args:
        logits, teacher: (N, classes, ...). targets: classes (N, ...), of which a negative one is none, or probabilities
            (N, classes, ...), of which the likeliest counts.
    """
    return teacher.argmax(1) == _classes(targets, teacher)


def teacher_is_better(logits: Tensor, teacher: Tensor, targets: Tensor) -> Tensor:
    """Where the teacher finds the target likelier than the network does; arguments as of :func:`teacher_is_right`."""
    classes = _classes(targets, teacher)
    index = classes.clamp(min=0).unsqueeze(1)
    mine, its = (F.log_softmax(each, dim=1).gather(1, index).squeeze(1) for each in (logits, teacher))
    return (its > mine) & (classes >= 0)


HEARD = {"right": teacher_is_right, "better": teacher_is_better}


def _classes(targets: Tensor, logits: Tensor) -> Tensor:
    """The class of each example or position.

    Raises:
        UserError: targets that are no classes of these logits.
    """
    if targets.shape == logits.shape:
        return targets.argmax(1)
    if targets.shape == logits[:, 0].shape and not targets.is_floating_point():
        return targets
    raise UserError(
        f"distillation hears a teacher where it is right, which {described(targets)} as targets do not tell; give "
        "classes (N, ...), or heard=always."
    )


def distillation_loss(
    logits: Tensor,
    teacher: Tensor,
    task: Tensor,
    *,
    temperature: float = 4.0,
    weight: Tensor | float = 0.9,
    heard: Tensor | None = None,
) -> Tensor:
    """(1 - a) task + a T^2 KL(softmax(teacher / T) || softmax(logits / T)), averaged over the batch and, for dense
    predictions, over their positions.

    Args:
        logits, teacher: (N, classes), or (N, classes, ...) with positions such as (H, W) or (L,).
        task: the loss against the labels.
        temperature: T. weight: a.
        heard: (N, ...), where the teacher's word counts: with a share q of them, a becomes a q, and the divergence is
            the mean over those alone. None: everywhere.

    Source: TAS, arXiv 1905.09717, knowledge transfer (a = .9, T = 4).
    """
    mine, its = (F.log_softmax(each / temperature, dim=1) for each in (logits, teacher))
    if heard is not None:
        each = F.kl_div(mine, its, reduction="none", log_target=True).sum(1)
        return (1 - weight * heard.mean(dtype=task.dtype)) * task + weight * temperature**2 * (each * heard).mean()
    soft = F.kl_div(mine, its, reduction="batchmean", log_target=True)
    soft = soft / math.prod(logits.shape[2:])  # batchmean divides by N alone
    return (1 - weight) * task + weight * temperature**2 * soft


def check_logits(outputs: Any) -> None:
    """Refuses outputs that say nothing of classes.

    Raises:
        UserError: they are not (N, classes, ...), nor a mapping with such ``logits``.
    """
    outputs = logits_of(outputs)
    if not isinstance(outputs, Tensor) or outputs.dim() < 2 or outputs.shape[1] < 2:
        raise UserError(
            f"a teacher's logits (N, classes, ...) are imitated, not {described(outputs)}; leave distillation out "
            "(without=['distillation']), or let the network return its logits."
        )
