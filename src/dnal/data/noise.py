"""Wrong labels on purpose: symmetric and asymmetric noise, for studies of training with noisy labels."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from dnal.base.errors import UserError
from dnal.data.labels import check_labels

CIFAR10_PAIRS = {9: 1, 2: 0, 3: 5, 5: 3, 4: 7}
"""The asymmetric noise of CIFAR-10: truck -> automobile, bird -> airplane, cat <-> dog, deer -> horse."""


def symmetric_noise(labels: Tensor, share: float, classes: int, seed: int = 0) -> Tensor:
    """Labels of which a share, chosen by lot, is drawn again, uniformly among all classes, so that the right one may
    come again: about share (classes - 1) / classes of all are wrong.

    Args:
        labels: whole numbers, (N,), which stay as they are. share: from 0 to 1. classes: how many there are.
        seed: of the draws; the global random state stays as it is.

    Returns:
        int64, (N,).

    Raises:
        UserError: no such labels, or no share.

    Examples:
        >>> import torch
        >>> from dnal.data.noise import symmetric_noise
        >>> labels = torch.arange(1000) % 10
        >>> 300 < int((symmetric_noise(labels, 0.4, 10) != labels).sum()) <= 400
        True
    """
    found, draw = _checked(labels, share, classes), torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(found), generator=draw)[: round(share * len(found))]
    found[chosen] = torch.randint(classes, (len(chosen),), generator=draw)
    return found


def asymmetric_noise(labels: Tensor, share: float, pairs: Mapping[int, int] = CIFAR10_PAIRS, seed: int = 0) -> Tensor:
    """Labels of which, in each class that is often taken for another, a share, chosen by lot, is that other class.

    Args:
        labels: whole numbers, (N,), which stay as they are. share: of each such class, from 0 to 1.
        pairs: class -> what it is taken for. seed: as of :func:`symmetric_noise`.

    Returns:
        int64, (N,).

    Raises:
        UserError: no such labels, or no share.

    Examples:
        >>> import torch
        >>> from dnal.data.noise import asymmetric_noise
        >>> asymmetric_noise(torch.tensor([3, 3, 5, 1]), 0.5, {3: 5}).sort().values.tolist()
        [1, 3, 5, 5]
    """
    right = _checked(labels, share, None)
    found, draw = right.clone(), torch.Generator().manual_seed(seed)
    for own, other in pairs.items():
        members = (right == own).nonzero().squeeze(1)
        found[members[torch.randperm(len(members), generator=draw)[: round(share * len(members))]]] = other
    return found


def _checked(labels: Tensor, share: float, classes: int | None) -> Tensor:
    if not 0 <= share <= 1:
        raise UserError(f"the share of wrong labels is a number from 0 to 1, not {share}.")
    return check_labels(labels.cpu(), images=len(labels), classes=classes).clone()
