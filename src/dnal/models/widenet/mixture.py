"""A mixture of experts: a router sends each token to few of several networks.

Source: Xue et al., "Go Wider Instead of Deeper" (AAAI 2022), section 3; the capacity and the balance loss are those of
Lepikhin et al., "GShard" (2021), and of Fedus et al., "Switch Transformers" (2022), equations 4 to 6.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def picked(probabilities: Tensor, chosen: int) -> Tensor:
    """The experts of the ``chosen`` largest probabilities (..., E) of each token, bool (..., E).

    Examples:
        >>> from dnal.models.widenet.mixture import picked
        >>> picked(torch.tensor([[0.1, 0.4, 0.2, 0.3]]), 2)
        tensor([[False,  True, False,  True]])
    """
    numbers = torch.arange(probabilities.shape[-1], device=probabilities.device)
    return (probabilities.topk(chosen, -1).indices.unsqueeze(-1) == numbers).any(-2)


def capacity_of(tokens: int, experts: int, chosen: int, factor: float) -> int:
    """Tokens that an expert takes of a batch: factor * chosen * tokens / experts, at least one.

    Examples:
        >>> from dnal.models.widenet.mixture import capacity_of
        >>> capacity_of(tokens=20, experts=4, chosen=2, factor=1.2)
        12
    """
    return max(1, int(factor * chosen * tokens / experts + 1e-9))


def within(routed: Tensor, capacity: int) -> Tensor:
    """Which of the tokens that are ``routed`` (n, E) to an expert it takes: the first ``capacity`` in their order.

    Examples:
        >>> from dnal.models.widenet.mixture import within
        >>> within(torch.tensor([[True], [False], [True], [True]]), 2).flatten()
        tensor([ True, False,  True, False])
    """
    return routed & (routed.cumsum(0) <= capacity)


def balance_loss(probabilities: Tensor, routed: Tensor, alpha: float = 0.01) -> Tensor:
    """How unequally the experts are used: alpha * E * sum over experts of m * P.

    m is the share of all choices that went to the expert, before any is dropped, and has no gradient; P is the mean of
    its probability. At equal shares the loss is alpha, and alpha * E where one choice a token is always the same
    expert, which is sure.

    Args:
        probabilities: (n, E) of n tokens. routed: bool (n, E).

    Returns:
        a scalar.
    """
    share = routed.to(probabilities.dtype)
    share = (share.sum(0) / share.sum().clamp(min=1)).detach()
    return alpha * probabilities.shape[1] * (share * probabilities.mean(0)).sum()


class Expert(nn.Sequential):
    """Two linear layers with a GELU between them."""

    def __init__(self, width: int, hidden: int, dropout: float = 0.0) -> None:
        super().__init__(nn.Linear(width, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, width))


class Mixture(nn.Module):
    """Experts, of which a token gets the sum of few, each times its probability.

    The probabilities are the softmax of all experts' logits; those of the chosen ones are not divided by their sum. In
    training, noise of standard deviation 1/E joins the logits, and an expert takes a capacity of
    ``capacity`` * chosen * n / E of a batch's n tokens, the first ones in their order; a token that it drops gets
    nothing of it. In eval mode nothing is drawn or dropped, so that a token's result does not depend on its batch;
    there every expert computes every token, and all of that is counted.

    Args:
        width: of the tokens. hidden: of each expert. experts: E. chosen: of a token. capacity, balance: the factor
            above, and alpha of :func:`balance_loss`.
    """

    def __init__(
        self,
        width: int,
        hidden: int,
        *,
        experts: int = 4,
        chosen: int = 2,
        capacity: float = 1.2,
        balance: float = 0.01,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.chosen, self.capacity, self.balance = chosen, capacity, balance
        self.router = nn.Linear(width, experts, bias=False)
        self.experts = nn.ModuleList(Expert(width, hidden, dropout) for _ in range(experts))

    def forward(self, x: Tensor, there: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Tokens (N, T, width), and bool (N, T) which of them are no padding -> the same shape, and in training the
        balance loss."""
        logits = self.router(x)
        if self.training:
            logits = logits + torch.randn_like(logits) / len(self.experts)
        probabilities = logits.softmax(-1)
        routed = picked(probabilities, self.chosen)
        if there is not None:
            routed = routed & there.unsqueeze(-1)
        if not self.training:
            gates = (probabilities * routed).to(x.dtype)
            parts = [gates[..., i : i + 1] * expert(x) for i, expert in enumerate(self.experts)]
            return torch.stack(parts).sum(0), None
        known = slice(None) if there is None else there.flatten()
        flat, marks = probabilities.flatten(0, 1), routed.flatten(0, 1)
        y = self._sent(x.flatten(0, 1), flat, marks).view_as(x)
        return y, balance_loss(flat[known], marks[known], self.balance)

    def _sent(self, x: Tensor, probabilities: Tensor, routed: Tensor) -> Tensor:
        """The tokens (n, width) that each expert takes, in numbers that do not depend on the routing: what is missing
        to its capacity is filled with others, times zero."""
        room = min(len(x), capacity_of(len(x), len(self.experts), self.chosen, self.capacity))
        taken = within(routed, room)
        gates = (probabilities * taken).to(x.dtype)
        rows = taken.to(torch.int8).topk(room, 0, sorted=False).indices
        y = torch.zeros_like(x)
        for i, expert in enumerate(self.experts):
            own = rows[:, i]
            y = y.index_add(0, own, (expert(x[own]) * gates[own, i : i + 1]).to(x.dtype))
        return y


class Single(nn.Module):
    """One network for every token, as a mixture of one."""

    def __init__(self, width: int, hidden: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.expert = Expert(width, hidden, dropout)

    def forward(self, x: Tensor, there: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        return self.expert(x), None
