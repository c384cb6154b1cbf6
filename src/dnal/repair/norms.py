"""Norms that lose channels: each channel that stays says what it said, as well as its scale and shift can.

A norm over the channels that stay has another mean and deviation than one over all. With y what a channel was and z
what it is without those that leave, over some examples, a = cov(y, z) / var(z) and c = mean(y) - a mean(z) are the line
that is nearest to y: weight <- a weight, bias <- a bias + c; without a bias a = sum(y z) / sum(z z). Both are taken of
what the norm is given in the whole network.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from dnal.repair.statistics import kept_buffers
from dnal.space.surgery.inputs import cloned
from dnal.space.surgery.norms import NormCall, OpenNorm, hard_weights, weighted
from dnal.space.surgery.running import call, evaluating, undisturbed
from dnal.train.batch import split
from dnal.train.rows import device_of, to_device


def rebuild_norms(network: nn.Module, norms: Iterable[OpenNorm], batches: Iterable[Any]) -> None:
    """Corrects the scales and shifts of a network's norms, in place.

    Args:
        norms: those that lose channels. batches: training examples; targets are not looked at.
    """
    of_module: dict[str, list[OpenNorm]] = {}
    for norm in norms:
        of_module.setdefault(norm.call.path, []).append(norm)
    with ExitStack() as stack:
        lines = [
            _Line(network.get_submodule(path), own, device_of(network))
            for path, own in of_module.items()
            if _is_plain(network.get_submodule(path), own[0].size)
        ]
        for line in lines:
            stack.callback(line.module.register_forward_hook(line.seen).remove)
        for batch in batches if lines else ():
            inputs, _ = to_device(split(batch), device_of(network))
            with undisturbed(inputs), evaluating(network), kept_buffers(network):
                call(network, cloned(inputs))
    for line in lines:
        line.write()


def _is_plain(module: nn.Module, size: int) -> bool:
    """Whether it is a single norm with a scale, and perhaps a shift, for each of so many channels."""
    own = dict(module.named_parameters())
    return (
        not any(module.children())
        and "weight" in own
        and own.keys() <= {"weight", "bias"}
        and all(parameter.shape == (size,) for parameter in own.values())
    )


class _Line:
    """The sums that tell the line of each channel of a norm."""

    def __init__(self, module: nn.Module, norms: list[OpenNorm], device: torch.device) -> None:
        self.module, self.size, self.stays = module, norms[0].size, norms[0].stays
        here = [norm._replace(call=norm.call._replace(path="")) for norm in norms]
        self._weights: Mapping[NormCall, Tensor] = hard_weights(here, device)
        self._sums: list[Tensor] = []  # of 1, y, z, z z and y z
        self._running = False
        self._fits = True

    def seen(self, module: nn.Module, given: tuple[Any, ...], out: Any) -> None:
        """A forward hook."""
        if self._running or not self._fits:
            return
        dims = [dim for dim, size in enumerate(out.shape) if size == self.size] if isinstance(out, Tensor) else []
        self._running = True
        try:
            self._fits = len(dims) == 1 and (bool(self._sums) or self._is_scaled(given, dims[0]))
            if self._fits:
                with weighted(module, self._weights):
                    without = module(*given)
                y, z = (x.movedim(dims[0], -1).reshape(-1, self.size).double() for x in (out, without))
                new = [torch.full_like(y[0], len(y)), y.sum(0), z.sum(0), z.square().sum(0), (y * z).sum(0)]
                self._sums = [one + other for one, other in zip(self._sums, new, strict=True)] if self._sums else new
        finally:
            self._running = False

    def _is_scaled(self, given: tuple[Any, ...], dim: int) -> bool:
        """Whether nothing but the shift is left where the scale is zero."""
        nothing = functional_call(self.module, {"weight": torch.zeros_like(self.module.weight)}, given)  # type: ignore[arg-type]
        bias = getattr(self.module, "bias", None)
        shift = torch.zeros((), device=nothing.device) if bias is None else bias
        return bool((nothing.movedim(dim, -1) == shift).all())

    @torch.no_grad()
    def write(self) -> None:
        """Gives the channels that stay their scales and shifts."""
        if not self._fits or not self._sums:
            return
        count, y, z, zz, yz = (one[self.stays.to(one.device)] for one in self._sums)
        weight, bias = self.module.weight, getattr(self.module, "bias", None)
        assert isinstance(weight, Tensor)
        if bias is None:
            slope = torch.where(zz > 0, yz / zz, 1)
        else:
            variance = zz - z * z / count
            slope = torch.where(variance > 1e-12 * zz, (yz - y * z / count) / variance, 1)
            bias[self.stays] = (slope * bias[self.stays] + (y - slope * z) / count).to(bias.dtype)
        weight[self.stays] = (slope * weight[self.stays]).to(weight.dtype)
