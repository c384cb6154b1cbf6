"""Knowledge distillation: a trained network teaches a smaller one."""

from __future__ import annotations

import math
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from dnal.base.errors import UserError, described


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
            f"a teacher's logits (N, classes, ...) are imitated, not {described(outputs)}; give distil=False, or let "
            "the network return its logits."
        )
