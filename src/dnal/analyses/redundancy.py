"""Which corruptions say the same of networks."""

from __future__ import annotations

import torch
from torch import Tensor

from dnal.analyses.likeness import rank_correlations


def redundancy_of(margins: Tensor) -> Tensor:
    """How alike the corruptions rank the images: Spearman's rank correlation of the margins under each two of them, the
    mean over the networks. Two corruptions near 1 test the same; each is near the clean images where it changes only
    how hard all are.

    Args:
        margins: of M networks under K corruptions on the same N images, (M, K, N).

    Returns:
        (K, K), 1 on the diagonal; NaN where all margins under a corruption are equal.

    Examples:
        >>> import torch
        >>> from dnal.analyses import redundancy_of
        >>> clean = torch.randn(2, 1, 30)
        >>> round(redundancy_of(torch.cat([clean, clean / 2], dim=1))[0, 1].item(), 6)
        1.0

    The paper (arXiv 2206.07918) correlates over many networks; we correlate over images, since a comparison has few.
    """
    return torch.stack([rank_correlations(each) for each in margins]).mean(0)
