"""A network that reads its first k features only: what each k makes, which is best, and the removal of the others."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from dnal.architecture.architecture import Architecture
from dnal.architecture.compact import compact
from dnal.base.errors import UserError
from dnal.space.copying import deep_copy
from dnal.space.space import Space
from dnal.space.surgery.tensors import named_tensors
from dnal.techniques.rich.head import last_linear_of

COST = 1e-5
"""Accuracy that each further feature must bring."""
AT_ONCE = 2**22
"""Numbers that are summed up at once."""


def each_truncation(features: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The logits of a linear layer that reads the first k features alone, for every k: the cumulative sums of what each
    feature adds, in F C multiplications per example, as many as the layer has.

    Args:
        features: what it reads, (N, F). weight: (C, F). bias: (C,), which counts for every k.

    Returns:
        (N, F, C): at place k - 1 those of k features.

    Examples:
        >>> import torch
        >>> from dnal.techniques.nested_dropout import each_truncation
        >>> each_truncation(torch.ones(1, 3), torch.tensor([[1.0, 2.0, 4.0]])).flatten().tolist()
        [1.0, 3.0, 7.0]
    """
    logits = (features[:, :, None] * weight.T[None]).cumsum(1)
    return logits if bias is None else logits + bias


def hits(features: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> Tensor:
    """How many examples each truncation has right, int64 (F,); as :func:`each_truncation`, a part at a time."""
    wide = torch.promote_types(torch.float32, features.dtype)
    features, weight, bias = features.to(wide), weight.to(wide), None if bias is None else bias.to(wide)
    rows = max(1, AT_ONCE // weight.numel())
    found = torch.zeros(weight.shape[1], dtype=torch.long, device=features.device)
    for some, wanted in zip(features.split(rows), targets.split(rows), strict=True):
        found += (each_truncation(some, weight, bias).argmax(2) == wanted[:, None]).sum(0)
    return found


def best(accuracies: Tensor) -> int:
    """The k with the largest accuracy minus 1e-5 k, the smallest of equal ones.

    Args:
        accuracies: of k = 1 .. F, (F,).

    Examples:
        >>> import torch
        >>> from dnal.techniques.nested_dropout import best
        >>> best(torch.tensor([0.5, 0.9, 0.9, 0.8]))
        2
    """
    return int((accuracies.double() - COST * torch.arange(1, len(accuracies) + 1)).argmax()) + 1


@torch.no_grad()
def zeroed(head: Any, k: int) -> None:
    """Sets the columns of a linear layer behind the first k to 0, in place."""
    head.weight[:, k:] = 0


def unread(network: nn.Module, space: Space) -> Tensor:
    """Which variables nothing needs whose channels the last linear layer reads: all columns that it has for them are 0,
    and no other layer reads them, or reads them with 0 alone.

    Args:
        space: of this network.

    Returns:
        bool, (num_gates,): to remove these changes nothing of what the network computes.
    """
    head, tensors = f"{last_linear_of(network, space)}.weight", dict(named_tensors(network))
    read, needed = (torch.zeros(space.num_gates, dtype=torch.bool) for _ in range(2))
    for name, dim in space.gates:
        ids = space.sources[name][dim]
        if ids is None:
            continue
        if name == head:
            read[ids[ids >= 0]] = True
        said = tensors[name].detach().movedim(dim, 0).flatten(1).any(1).cpu()
        needed[ids[said & (ids >= 0)]] = True
    found = read & ~needed
    for group in space.groups:
        if bool(found[group.variables].all()):  # of a layer that reads nothing at all none is told apart
            found[group.variables] = False
    return found


def truncated(network: nn.Module, space: Space, k: int) -> nn.Module:
    """The network that reads the first k features of its last linear layer alone: a copy, smaller where that can be.

    Channels leave that make none of these features and that no other layer reads, with the columns of the classifier. A
    channel that others read too, such as one of a residual stream, stays, and its column is 0; so does one of whose
    several features (a flattened image) the first k hold some. Each is told.

    Args:
        network: stays as it is. space: of this network. k: from 1 to F.

    Returns:
        an ordinary network of the same classes.

    Raises:
        UserError: k is no number of features.

    Examples:
        >>> import torch, dnal
        >>> from torch import nn
        >>> from dnal.techniques import truncated
        >>> network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        >>> truncated(network, dnal.Space.of(network, torch.randn(2, 4)), 5)
        Sequential(
          (0): Linear(in_features=4, out_features=5, bias=True)
          (1): ReLU()
          (2): Linear(in_features=5, out_features=3, bias=True)
        )
    """
    path = last_linear_of(network, space)
    features = _head(network, path).in_features
    if not 1 <= k <= features:
        raise UserError(f"'{path}' reads {features} features, and k of them is a number from 1 to that, not {k}.")
    small: nn.Module = deep_copy(network)
    zeroed(_head(small, path), k)
    closing = unread(small, space)
    if bool(closing.any()):
        small = compact(small, Architecture.of(space, ~closing))
    left = _head(small, path).in_features - k
    if left:
        warnings.warn(
            f"{left} of the {features - k} columns of '{path}' that were truncated are 0 and stay: their channels are "
            "needed elsewhere in the network.",
            stacklevel=2,
        )
    return small


def _head(network: nn.Module, path: str) -> nn.Linear:
    head = network.get_submodule(path)
    assert isinstance(head, nn.Linear)
    return head
