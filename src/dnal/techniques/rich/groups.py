"""Groups of examples by what earlier networks had right: the worst of them, and a balanced draw."""

from __future__ import annotations

import torch
from torch import Tensor

from dnal.base.errors import UserError


def groups_of(right: Tensor) -> Tensor:
    """Of each earlier network the examples that it had right, and those that it had wrong.

    Args:
        right: (networks, N), bool.

    Returns:
        (2 networks, N), bool: right, wrong, right, wrong, ...; those of different networks overlap.
    """
    return torch.stack([right, ~right], 1).flatten(0, 1)


def worst_group(losses: Tensor, groups: Tensor) -> Tensor:
    """Group DRO without weights: the largest of the groups' mean losses. Empty groups have none.

    Args:
        losses: of each example, (N,). groups: (groups, N), bool.

    Returns:
        a scalar, whose gradient is that of the worst group alone.

    Raises:
        UserError: all groups are empty.

    Examples:
        >>> import torch
        >>> from dnal.techniques.rich import groups_of, worst_group
        >>> right = torch.tensor([[True, True, False]])
        >>> float(worst_group(torch.tensor([1.0, 3.0, 7.0]), groups_of(right)))
        7.0

    Source: Zhang et al., arXiv 2203.15516; Sagawa et al., arXiv 1911.08731.
    """
    there = groups[groups.any(1)].to(losses.dtype)
    if not len(there):
        raise UserError("no group has an example, so that none is the worst; give other groups.")
    return ((there @ losses) / there.sum(1)).max()


def balanced(right: Tensor, count: int, generator: torch.Generator | None = None) -> Tensor:
    """Numbers of ``count`` examples, drawn with replacement: half of them among those on which all networks agree (all
    right, or all wrong), half among the others. Where one of both is empty, all are drawn from the other.

    Args:
        right: (networks, N), bool.
    """
    agree = right.all(0) | ~right.any(0)
    sides = [side.nonzero().squeeze(1) for side in (agree, ~agree)]
    sides = [side for side in sides if len(side)]
    sizes = [count // 2, count - count // 2] if len(sides) == 2 else [count]
    return torch.cat([
        side[torch.randint(len(side), (size,), generator=generator).to(side.device)]
        for side, size in zip(sides, sizes, strict=True)
    ])  # fmt: skip
