"""How alike a network has made its examples: over-smoothing of graph networks."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

PIECE = 2**9
"""Examples that are held against all others at once."""


def smoothness_of(features: Tensor) -> Tensor:
    """The mean distance of each example to all others, (N,), of features (N, F): half the distance of the two
    directions, 0 where they are the same and 1 where they are opposite. Their mean is low where all have become alike.
    Features that are all zero have no direction, and half a unit of distance to one.

    Source: Liu, Gao and Ji, "Towards Deeper Graph Neural Networks" (KDD 2020), SMV; recalled.

    Examples:
        >>> from dnal.analyses.smoothness import smoothness_of
        >>> smoothness_of(torch.tensor([[1.0, 0.0], [3.0, 0.0], [-1.0, 0.0]]))
        tensor([0.5000, 0.5000, 1.0000], dtype=torch.float64)
    """
    unit = F.normalize(features.double(), dim=1)
    mode = "donot_use_mm_for_euclid_dist"  # a product would round small distances
    sums = [torch.cdist(piece, unit, compute_mode=mode).sum(1) for piece in unit.split(PIECE)]
    return torch.cat(sums) / 2 / (len(unit) - 1)
