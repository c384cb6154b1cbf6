"""How alike networks are: their features, their rankings of the examples, and what they say."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from dnal.techniques.guidance.similarity import linear_cka

MOST = 2000
"""Examples whose products with each other are in memory."""


def cka_matrix(features: Sequence[Tensor]) -> Tensor:
    """Linear CKA (:func:`dnal.techniques.guidance.linear_cka`, unbiased) between each two of M networks' features of
    the same examples, (N, F_m) each: (M, M), 1 on the diagonal. Of more than ``MOST`` examples evenly spaced ones
    count.

    Examples:
        >>> import torch
        >>> from dnal.analyses import cka_matrix
        >>> x = torch.randn(50, 6)
        >>> round(float(cka_matrix([x, 2 * x.flip(1)])[0, 1]), 4)
        1.0
    """
    chosen = spread(len(features[0]), MOST) if features else torch.zeros(0, dtype=torch.long)
    few = [each[chosen].double() for each in features]
    found = torch.eye(len(few), dtype=torch.float64)
    for i, x in enumerate(few):
        for j, y in enumerate(few[:i]):
            found[i, j] = found[j, i] = linear_cka(x, y, unbiased=len(chosen) > 3)
    return found


def rank_correlations(values: Tensor) -> Tensor:
    """Spearman's rank correlation between each two rows of (M, N): (M, M), 1 on the diagonal, NaN where a row has a
    single value.

    Examples:
        >>> import torch
        >>> rank_correlations(torch.tensor([[1.0, 2.0, 3.0], [1.0, 4.0, 9.0], [3.0, 2.0, 1.0]])).round().tolist()
        [[1.0, 1.0, -1.0], [1.0, 1.0, -1.0], [-1.0, -1.0, 1.0]]
    """
    ranks = torch.from_numpy(np.atleast_2d(stats.rankdata(values.double().numpy(), axis=1)))
    ranks = ranks - ranks.mean(1, keepdim=True)
    unit = ranks / ranks.norm(dim=1, keepdim=True)  # 0 / 0: NaN
    found: Tensor = (unit @ unit.T).clamp(-1, 1)
    return found.fill_diagonal_(1)


def agreement(predictions: Tensor) -> Tensor:
    """The share of examples of which each two of M networks say the same class; predictions (M, N): (M, M)."""
    return torch.stack([(predictions == each).double().mean(1) for each in predictions])


def spread(number: int, most: int) -> Tensor:
    """So many of ``number`` examples, or all, evenly spaced: of those that are sorted by class some of each."""
    return torch.arange(number) if number <= most else torch.arange(most) * number // most
