"""EdgeBank: a pair has an event again if it ever had one."""

from __future__ import annotations

import torch
from torch import Tensor


def edgebank(past: Tensor, pairs: Tensor, nodes: int) -> Tensor:
    """1 for each pair (Q, 2) that is among the past events (E, 2), else 0; (Q,).

    Source: Poursafaei et al., "Towards Better Evaluation for Dynamic Link Prediction" (2022), with unlimited memory.

    Examples:
        >>> from dnal.models.temporal.edgebank import edgebank
        >>> edgebank(torch.tensor([[0, 1], [2, 0]]), torch.tensor([[0, 1], [1, 0], [2, 0]]), nodes=3)
        tensor([1., 0., 1.])
    """
    keys = [pair[:, 0] * nodes + pair[:, 1] for pair in (past, pairs)]
    return torch.isin(keys[1], keys[0]).float()
