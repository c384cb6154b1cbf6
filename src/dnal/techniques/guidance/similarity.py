"""How alike two networks see the examples of a batch: linear CKA and RSA; and which layers are compared."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dnal.base.errors import UserError

LEAST = 1e-8
"""Activations whose distances from their mean are shorter in all count as dead: they are like nothing."""


def linear_cka(x: Tensor, y: Tensor, *, unbiased: bool = False) -> Tensor:
    """Linear centred kernel alignment of two sets of activations of the same N examples.

    With K = X X^T and L = Y Y^T it is HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)): 1 for Y = a X Q with any a and any
    orthogonal Q, whatever the widths. The biased HSIC, sum of (H K H) * (H L H) with H = I - 11^T / N, is not 0 for
    independent activations that are wider than N: with few examples everything looks alike.

    Args:
        x: (N, ...), flattened to (N, p). y: (N, ...), flattened to (N, q). Computed in float32, or in float64 where
            both are.
        unbiased: with the unbiased HSIC of Song et al., which ignores what an example says of itself and is 0 in the
            mean for independent activations, also below 0; it needs four examples.

    Returns:
        a scalar, in [0, 1], or in [-1, 1] where ``unbiased``; 0 where a side is the same for all examples.

    Raises:
        UserError: another number of examples on both sides, or too few.

    Examples:
        >>> import torch
        >>> from dnal.techniques.guidance import linear_cka
        >>> x = torch.randn(8, 5)
        >>> round(float(linear_cka(x, 3 * x.flip(1))), 4)
        1.0

    Source: Kornblith et al., arXiv 1905.00414; used as a loss by Subramaniam et al., arXiv 2410.20035, in the biased
    form. Unbiased: Song et al., 2012, equation 5.
    """
    x, y = _rows(x, y, 4 if unbiased else 2)
    with torch.autocast(x.device.type, enabled=False):
        mine, its = (_unit(_centred(_gram(each), unbiased)) for each in (x, y))
        return (mine * its).sum()


def rsa(x: Tensor, y: Tensor) -> Tensor:
    """Representational similarity analysis: Pearson's correlation, over all pairs of examples, of how alike two
    networks find them.

    Args:
        x: (N, ...), flattened to (N, p). y: (N, ...), flattened to (N, q).

    Returns:
        a scalar in [-1, 1]: the correlation of both sets of cosines between different examples; 0 where a side finds
        all pairs equally alike.

    Raises:
        UserError: another number of examples on both sides, or fewer than three.

    Examples:
        >>> import torch
        >>> from dnal.techniques.guidance import rsa
        >>> x = torch.randn(8, 5)
        >>> round(float(rsa(x, 3 * x.flip(1))), 4)
        1.0
    """
    x, y = _rows(x, y, 3)
    first, second = torch.triu_indices(len(x), len(x), 1, device=x.device)
    with torch.autocast(x.device.type, enabled=False):
        units = [F.normalize(each, dim=1) for each in (x, y)]
        cosines = [(each @ each.T)[first, second] for each in units]
        mine, its = (_unit(each - each.mean()) for each in cosines)
        return (mine * its).sum()


def layer_map(guide: int, network: int) -> dict[int, int]:
    """Which layer of a guide each layer of a network is compared with, evenly spaced: guide layer i belongs to layer
    round(i (network - 1) / (guide - 1)). Where several belong to one, the last of them counts.

    Args:
        guide, network: how many layers each has.

    Returns:
        layer of the network -> layer of the guide.

    Examples:
        >>> layer_map(3, 5)
        {0: 0, 2: 1, 4: 2}
        >>> layer_map(5, 3)  # 0.5 and 1.5 are rounded to even numbers
        {0: 1, 1: 2, 2: 4}

    Source: the published code of arXiv 2410.20035.
    """
    step = (network - 1) / (guide - 1) if guide > 1 else 1.0
    return {min(round(layer * step), network - 1): layer for layer in range(guide)}


def _rows(x: Tensor, y: Tensor, least: int) -> list[Tensor]:
    """Both as (N, features) in the precision that they are compared in."""
    if len(x) != len(y) or len(x) < least:
        raise UserError(
            f"activations are compared example by example, for {least} or more; these are of {len(x)} and {len(y)}."
        )
    kind = torch.float64 if x.dtype == y.dtype == torch.float64 else torch.float32
    return [each.reshape(len(each), -1).to(kind) for each in (x, y)]


def _gram(x: Tensor) -> Tensor:
    """The products of all pairs of rows, (N, N), of rows that have the mean 0 and are scaled to the length 1 in all, so
    that no square overflows."""
    x = _unit(x - x.mean(0))
    return x @ x.T


def _centred(gram: Tensor, unbiased: bool) -> Tensor:
    """H K H of rows whose mean is 0 already: K itself. Unbiased: its U-centred form, whose diagonal is 0 and whose rows
    have the sum 0 without it, so that the sum of products of two is N (N - 3) times the unbiased HSIC."""
    if not unbiased:
        return gram
    count = len(gram)
    away = 1 - torch.eye(count, dtype=gram.dtype, device=gram.device)
    gram = gram * away
    sums = gram.sum(0) / (count - 2)
    return (gram - sums[None] - sums[:, None] + gram.sum() / ((count - 1) * (count - 2))) * away


def _unit(x: Tensor) -> Tensor:
    """x over its length; of almost no length, almost 0, with gradients that are numbers."""
    length: Tensor = torch.linalg.vector_norm(x)
    return x / length.clamp(min=LEAST)
