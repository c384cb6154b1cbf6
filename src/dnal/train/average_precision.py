"""Average precision: how well a score separates two classes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dnal.base.errors import UserError, described
from dnal.train.evaluate import IGNORED, over_batches
from dnal.train.loader import Loader
from dnal.train.outputs import logits_of


def average_precision_of(scores: Tensor, labels: Tensor) -> float:
    """The mean over all positives of the precision at the score of each, 1 at best.

    Args:
        scores: the higher, the more likely positive, (N,). labels: 1 for positives, 0 for negatives, (N,).

    Examples:
        >>> round(average_precision_of(torch.tensor([0.9, 0.8, 0.1, 0.0]), torch.tensor([1, 0, 1, 0])), 4)
        0.8333
    """
    # Imported here: it takes seconds, and a run is read without it.
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(labels.cpu().numpy(), scores.cpu().numpy()))


def average_precision(network: nn.Module, loader: Loader) -> float:
    """:func:`average_precision_of` all examples of a loader; the score is the logit of class 1 minus that of class 0.
    The network runs in eval mode, and its mode is restored. Targets of ``IGNORED`` do not count; without a positive the
    result is nan.

    Outputs: logits (N, 2, ...), or a mapping with them as ``logits``; targets: 0 and 1, (N, ...).

    Raises:
        UserError: other outputs or targets.
    """
    scores, labels = [torch.zeros(0, dtype=torch.double)], [torch.zeros(0, dtype=torch.long)]

    def update(outputs: Tensor, targets: Tensor) -> None:
        logits = logits_of(outputs)
        if logits.dim() < 2 or logits.size(1) != 2 or targets.shape != logits.shape[:1] + logits.shape[2:]:
            raise UserError(
                f"average precision is of logits (N, 2, ...) and targets (N, ...), not of {described(logits)} and "
                f"{described(targets)}."
            )
        counts = targets != IGNORED
        scores.append((logits[:, 1] - logits[:, 0])[counts].double().cpu())
        labels.append(targets[counts].cpu())

    over_batches(network, loader, update)
    every = torch.cat(labels)
    return average_precision_of(torch.cat(scores), every) if bool(every.any()) else float("nan")
