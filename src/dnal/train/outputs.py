"""What a network answers: logits, or a mapping as of Hugging Face, with ``logits`` and perhaps a ``loss``, or an
``aux_loss`` that joins the loss of the task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor


def own_loss(outputs: Any) -> Tensor | None:
    """The loss that a network has computed itself; None where it has not."""
    found = outputs.get("loss") if isinstance(outputs, Mapping) else None
    return found if isinstance(found, Tensor) else None


def logits_of(outputs: Any) -> Any:
    """The logits (N, classes, ...) of an answer that is a mapping with ``logits``; any other answer as it is. Those of
    sequences, (N, L, classes) in such mappings, become (N, classes, L)."""
    if not isinstance(outputs, Mapping) or not isinstance(outputs.get("logits"), Tensor):
        return outputs
    logits: Tensor = outputs["logits"]
    return logits.movedim(-1, 1) if logits.dim() == 3 else logits


def task_loss(outputs: Any, targets: Any) -> Tensor:
    """The default loss: the one that the network has computed itself, else the cross entropy of its logits, and its
    ``aux_loss`` where it has one, such as what keeps the experts of a mixture in equal use.

    Args:
        outputs: logits (N, classes, ...), or a mapping with ``loss``, or ``logits``, and perhaps ``aux_loss``. targets:
            what cross entropy takes.
    """
    own = own_loss(outputs)
    return with_aux_loss(F.cross_entropy(logits_of(outputs), targets), outputs) if own is None else own


def with_aux_loss(loss: Tensor, outputs: Any) -> Tensor:
    """The loss of a task, and what the network adds to it: ``aux_loss`` of a mapping."""
    added = outputs.get("aux_loss") if isinstance(outputs, Mapping) else None
    return loss + added if isinstance(added, Tensor) else loss


def is_default(loss: Any) -> bool:
    """Whether a loss is the default one, or the cross entropy that it mostly is."""
    return loss is task_loss or loss is F.cross_entropy
