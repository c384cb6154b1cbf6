"""A network with the gates of an architecture, each 0 or 1: what the compact network computes, nothing removed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from dnal.architecture.architecture import Architecture
from dnal.gates.functions import scaled
from dnal.gates.gated import layer_of, tensor_of
from dnal.space.surgery.norms import NormCall, hard_weights
from dnal.space.surgery.substitute import call_with, slots


def _size(network: nn.Module, path: str, dim: int) -> int:
    """How many inputs (1) of one group, or outputs (0), a layer has that computes its weight."""
    layer = network.get_submodule(path)
    if isinstance(layer, nn.Linear):
        return layer.in_features if dim else layer.out_features
    assert isinstance(layer, _ConvNd)
    return layer.in_channels // layer.groups if dim else layer.out_channels


class HardGated(nn.Module):
    """A network with the gates of an architecture at 0 or 1, nothing removed."""

    def __init__(self, network: nn.Module, architecture: Architecture) -> None:
        super().__init__()
        self.network = network
        self._places: list[tuple[str, int]] = []
        self._computed: dict[tuple[str, int], str] = {}
        for name, dim in architecture.readers:
            indices = architecture.kept[name][dim]
            if indices is None:
                continue
            path = layer_of(name, architecture.kept.baked)
            like = next(network.get_submodule(path).parameters()) if path else tensor_of(network, name)
            gate = torch.zeros(
                _size(network, path, dim) if path else like.size(dim), dtype=like.dtype, device=like.device
            )
            gate[indices.to(like.device)] = 1
            self.register_buffer(f"_gate{len(self._places)}", gate, persistent=False)
            self._places.append((name, dim))
            if path:
                self._computed[name, dim] = path
        self._norms: list[NormCall] = []
        for number, (call, weight) in enumerate(hard_weights(architecture.kept.norms, torch.device("cpu")).items()):
            like = next(network.parameters())
            self.register_buffer(f"_norm{number}", weight.to(like.device), persistent=False)
            self._norms.append(call)
        self._silent = [name for bypass in architecture.kept.bypasses for name in bypass.places]
        plain = [name for name, dim in self._places if (name, dim) not in self._computed]
        self._slots = slots(network, [*plain, *self._silent])

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        weights: dict[str, Tensor] = {}
        computed: dict[str, dict[int, Tensor]] = {}
        for number, (name, dim) in enumerate(self._places):
            gate = getattr(self, f"_gate{number}")
            if (name, dim) in self._computed:
                computed.setdefault(self._computed[name, dim], {})[dim] = gate
                continue
            weights[name] = scaled(weights.get(name, tensor_of(self.network, name)), gate, dim)
        weights |= {name: torch.zeros_like(tensor_of(self.network, name)) for name in self._silent}
        norms = {call: getattr(self, f"_norm{number}") for number, call in enumerate(self._norms)}
        return call_with(self.network, weights, self._slots, args, kwargs, computed, norms=norms)


def gated(network: nn.Module, architecture: Architecture) -> HardGated:
    """A module that computes ``network`` with the architecture's gates hard at 0/1, removing nothing.

    It shares the network's parameters.

    Raises:
        UserError: if the architecture was made for another network.

    Examples:
        >>> network, images = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3)), torch.randn(2, 3, 8, 8)
        >>> architecture = dnal.Architecture.random(dnal.Space.of(network, images), keep=0.5)
        >>> torch.allclose(gated(network, architecture)(images), dnal.compact(network, architecture)(images), atol=1e-6)
        True
    """
    architecture.check(network)
    gated_network = HardGated(network, architecture)
    return gated_network.train(network.training)
