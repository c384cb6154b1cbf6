"""A batch norm per width in place of one for all, as TAS (arXiv 1905.09717) searches with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnal.methods.tas.interpolation import interpolated
from dnal.space.space import Space

PLAIN = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
"""Not their subclasses, which may do more than normalise."""


class Candidates(nn.Module):
    """One batch norm per width in place of one for all: that of width C_k sees the first C_k channels of ``order``.

    They start as the plain norm's own, which may have other channels too. Everything is held in flat tensors, so that
    every parameter has a gradient in every step, whichever widths are drawn.
    """

    def __init__(self, norm: nn.BatchNorm2d, order: Tensor, widths: list[int]) -> None:
        super().__init__()
        self.eps = norm.eps
        self.momentum = 0.1 if norm.momentum is None else norm.momentum
        self.widths = widths
        self.ends = torch.tensor(widths).cumsum(0).tolist()
        self.register_buffer("order", order, persistent=False)
        self.order: Tensor

        def spread(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else torch.cat([tensor.detach()[order[:width]] for width in widths])

        for name in ("weight", "bias"):
            spreaded = spread(getattr(norm, name))
            self.register_parameter(name, None if spreaded is None else nn.Parameter(spreaded))
        for name in ("running_mean", "running_var"):
            self.register_buffer(name, spread(getattr(norm, name)))

    def of(self, name: str, choice: int) -> Tensor | None:
        """The candidate's part of weight, bias, running_mean or running_var: a view, (C_k,)."""
        tensor: Tensor | None = getattr(self, name)
        return None if tensor is None else tensor[self.ends[choice] - self.widths[choice] : self.ends[choice]]

    def forward(self, x: Tensor, result: Tensor, choices: list[int], shares: Tensor) -> Tensor:
        """The plain norm's ``result`` for x (N, channels, ...) with other values in the channels of ``order``: each
        candidate's, interpolated to the widest of them, mixed by ``shares`` (choices,); zero beyond."""
        widest = max(self.widths[choice] for choice in choices)
        mixed = torch.zeros((), device=x.device)
        for choice, share in zip(choices, shares, strict=True):
            mean = self.of("running_mean", choice)
            one = F.batch_norm(
                x.index_select(1, self.order[: self.widths[choice]]), mean, self.of("running_var", choice),
                self.of("weight", choice), self.of("bias", choice), self.training or mean is None, self.momentum,
                self.eps,
            )  # fmt: skip
            mixed = mixed + share.to(one.dtype) * interpolated(one, widest)
        beyond = mixed.new_zeros((mixed.size(0), len(self.order) - widest, *mixed.shape[2:]))
        return result.index_copy(1, self.order, torch.cat((mixed, beyond), dim=1).to(result.dtype))

    @torch.no_grad()
    def write(self, norm: nn.Module, choice: int) -> None:
        """Gives a plain norm what the candidate has learnt; channels beyond it get what the widest has."""
        for name in ("weight", "bias", "running_mean", "running_var"):
            for one in (len(self.widths) - 1, choice):
                values = self.of(name, one)
                if values is not None:
                    getattr(norm, name)[self.order[: self.widths[one]]] = values


def plain_norms(network: nn.Module, space: Space) -> Iterator[tuple[nn.BatchNorm2d, str, Tensor]]:
    """The batch norms with channels that may vary, by name, and the variable of each channel, -1 = fixed."""
    for name, module in network.named_modules():
        if type(module) in PLAIN:
            ids = space.sources.get(f"{name}.weight", space.buffer_sources.get(f"{name}.running_mean", (None,)))[0]
            if ids is not None:
                yield module, name, ids


def in_place_of(
    candidates: Candidates, choices: list[int], shares: Tensor, gate: Tensor, norm: nn.Module, given: Any, result: Any
) -> Tensor:
    """A forward hook: the norm's result with the candidates' in its place, as far as they stand for it."""
    changed: Tensor = candidates(given[0], result, choices, shares * gate)
    return changed
