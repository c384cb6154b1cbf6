"""How the inputs of a hypernetwork are encoded, so that their size does not become that of the predicted weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

Encoding = Literal["norm", "sum", "none"]


def constant_norm(gamma: Tensor) -> Tensor:
    """[cos(pi gamma / 2), sin(pi gamma / 2)]: the same Euclidean norm, sqrt(d), for every input.

    Args:
        gamma: (..., d), each from 0 to 1; their ends are as far apart as can be.

    Returns:
        (..., 2 d).

    Examples:
        >>> import torch
        >>> from dnal.hyper import constant_norm
        >>> constant_norm(torch.tensor([[0.0], [0.25], [1.0]])).norm(dim=1)
        tensor([1., 1., 1.])

    Source: Ortiz, Guttag and Dalca, arXiv 2304.07645.
    """
    angle = gamma * (math.pi / 2)
    return torch.cat([angle.cos(), angle.sin()], -1)


def constant_sum(gamma: Tensor) -> Tensor:
    """[gamma, 1 - gamma]: the same sum, d, for every input.

    Args:
        gamma: (..., d), each from 0 to 1.

    Returns:
        (..., 2 d).

    Source: the published code of arXiv 2304.07645.
    """
    return torch.cat([gamma, 1 - gamma], -1)


ENCODINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "norm": constant_norm,
    "sum": constant_sum,
    "none": lambda gamma: gamma,
}
