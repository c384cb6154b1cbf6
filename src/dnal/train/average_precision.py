"""How well pairs, or other examples of two classes, are told apart by a score."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dnal.base.errors import UserError, described
from dnal.train.evaluate import IGNORED, over_batches
from dnal.train.loader import Loader
from dnal.train.outputs import logits_of


def average_precision_of(scores: Tensor, told: Tensor) -> float:
    """The mean over those that are true, in the order of their scores, of the share of true ones down to each, 1 at
    best.

    Args:
        scores: (N,). told: 1 for those that are true, else 0, (N,).

    Examples:
        >>> round(average_precision_of(torch.tensor([0.9, 0.8, 0.1, 0.0]), torch.tensor([1, 0, 1, 0])), 4)
        0.8333
    """
    # Imported here: it takes seconds, and a run is read without it.
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(told.cpu().numpy(), scores.cpu().numpy()))


def average_precision(network: nn.Module, loader: Loader) -> float:
    """:func:`average_precision_of` all examples of a loader, by how much larger the logit of class 1 is than that of
    class 0; in eval mode, the network's mode is restored. Targets of ``IGNORED`` do not count.

    Outputs: logits (N, 2, ...), or a mapping with them as ``logits``; targets: 0 and 1, (N, ...).

    Raises:
        UserError: other outputs or targets.
    """
    scores, told = [torch.zeros(0, dtype=torch.double)], [torch.zeros(0, dtype=torch.long)]

    def update(outputs: Tensor, targets: Tensor) -> None:
        logits = logits_of(outputs)
        if logits.dim() < 2 or logits.size(1) != 2 or targets.shape != logits.shape[:1] + logits.shape[2:]:
            raise UserError(
                f"average precision is of logits (N, 2, ...) and targets (N, ...), not of {described(logits)} and "
                f"{described(targets)}."
            )
        counts = targets != IGNORED
        scores.append((logits[:, 1] - logits[:, 0])[counts].double().cpu())
        told.append(targets[counts].cpu())

    over_batches(network, loader, update)
    all_told = torch.cat(told)
    return average_precision_of(torch.cat(scores), all_told) if bool(all_told.any()) else float("nan")
