"""Which experts a mixture sends its tokens to, call by call: where blocks share it, block by block."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dnal.models.widenet.mixture import Mixture, picked
from dnal.train.evaluate import over_batches
from dnal.train.loader import Loader

MOST_TOKENS = 2**20
"""That are looked at, of one call."""


@dataclass(frozen=True)
class Routing:
    """Of the calls of a network's mixtures, in their order, on the tokens that are no padding.

    Attributes:
        loads: which share of all choices goes to each expert, (calls, E).
        certainty: the entropy of a token's probabilities over log E, in the mean: 0 where the router is sure, 1 where
            all experts are alike to it; (calls,).
        changed: the share of tokens that go to another set of experts than in the call before, (calls - 1,).
    """

    loads: Tensor
    certainty: Tensor
    changed: Tensor

    @property
    def entropy(self) -> Tensor:
        """Of the loads, over log E: 1 where the experts are in equal use, (calls,)."""
        return entropy(self.loads)


def entropy(shares: Tensor) -> Tensor:
    """Of shares (..., E) that add up to one, over log E: 0 where one has all, 1 where all have the same; (...).

    Examples:
        >>> from dnal.analyses.routing import entropy
        >>> entropy(torch.tensor([[1.0, 0.0], [0.5, 0.5]]))
        tensor([0., 1.])
    """
    total: Tensor = torch.special.entr(shares).sum(-1)
    return total / math.log(shares.shape[-1])


def routing(probabilities: Tensor, chosen: int) -> Routing:
    """Of the router's probabilities in each call, (calls, tokens, E), of which each token gets the ``chosen`` largest.

    Examples:
        >>> from dnal.analyses.routing import routing
        >>> routing(torch.tensor([[[0.9, 0.1], [0.2, 0.8]], [[0.9, 0.1], [0.6, 0.4]]]), 1).changed
        tensor([0.5000], dtype=torch.float64)
    """
    found = picked(probabilities, chosen)
    loads = found.double().mean(1) / chosen
    changed = (found[1:] != found[:-1]).any(-1).double().mean(-1)
    return Routing(loads, entropy(probabilities.double()).mean(1), changed)


def routing_of(network: nn.Module, loader: Loader, data: str = "test") -> Routing | None:
    """Runs a network over a data set, in eval mode, and reads its mixtures of experts.

    Args:
        loader: batches of inputs and targets. data: what it loads, for a message.

    Returns:
        None where the network has no :class:`dnal.models.widenet.mixture.Mixture`, or has such of different sizes.
    """
    mixtures = [module for module in network.modules() if isinstance(module, Mixture)]
    if len({(len(mixture.experts), mixture.chosen) for mixture in mixtures}) != 1:
        return None
    now: list[Tensor] = []
    batches: list[Tensor] = []

    def read(mixture: Any, given: tuple[Any, ...], out: object) -> None:
        x, there = (*given, None)[:2]
        found = mixture.router(x).softmax(-1)
        now.append((found.flatten(0, 1) if there is None else found[there]).detach().cpu())

    def keep(outputs: object, targets: object) -> None:
        if sum(each.shape[1] for each in batches) < MOST_TOKENS:
            batches.append(torch.stack(now))
        now.clear()

    handles = [mixture.register_forward_hook(read) for mixture in mixtures]
    try:
        over_batches(network, loader, keep, data)
    finally:
        for handle in handles:
            handle.remove()
    return routing(torch.cat(batches, 1), mixtures[0].chosen) if batches else None
