"""Gates at the readers: the network with every channel multiplied by its gate, where the channel is read.

A channel is alive iff somebody reads it. Instead of a layer after each convolution (arXiv 2103.02126:
out_c = x_c * sigmoid(delta s_c)), the weight slice that reads channel i is multiplied by the gate of i. On
convolution - batch norm - ReLU chains both are equal, because ReLU(a x) = a ReLU(x) for a > 0. They are NOT equal
behind ReLU6 or another activation that does not scale, nor in residual sums, where the paper gates each block's output
and here the stream has one tied variable. In exchange a closed gate is exactly a removed channel, whatever stands in
between.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from dnal.architecture.architecture import Architecture, check_shapes
from dnal.space.space import Space
from dnal.space.surgery.substitute import call_with, slots


def sigmoid_gates(s: Tensor, delta: float) -> Tensor:
    """g = sigmoid(delta * s) (arXiv 2103.02126). ``s``: (num_gates,), ``delta`` > 0 the scale.

    Examples:
        >>> sigmoid_gates(torch.tensor([-1.0, 0.0, 1.0]), delta=10)
        tensor([4.5398e-05, 5.0000e-01, 9.9995e-01])
    """
    return torch.sigmoid(delta * s)


def hard_gates(s: Tensor, delta: float) -> Tensor:
    """1 where s > 0 else 0, with the gradient of sigmoid(delta * s) (straight-through).

    Examples:
        >>> s = torch.tensor([-0.5, 0.5], requires_grad=True)
        >>> gates = hard_gates(s, delta=2)
        >>> gates.tolist()
        [0.0, 1.0]
        >>> gates.sum().backward()
        >>> s.grad
        tensor([0.3932, 0.3932])
    """
    soft = sigmoid_gates(s, delta)
    return soft + ((s > 0).to(soft.dtype) - soft).detach()


def scaled(weight: Tensor, gate: Tensor, dim: int) -> Tensor:
    """The weight with each slice along ``dim`` times its gate; ``gate``: (size of that dimension,)."""
    return weight * gate.view([-1 if d == dim else 1 for d in range(weight.dim())])


def gated_weights(
    parameters: Mapping[str, Tensor], gates: Tensor, readers: Mapping[tuple[str, int], Tensor]
) -> dict[str, Tensor]:
    """The reader weights times the gates of what they read.

    Args:
        parameters: the network's parameters (and buffers, where a convolution's weight is one) by name.
        gates: (num_gates,).
        readers: (parameter, dimension) -> variable ids of that dimension, -1 = fixed (gate 1).
    """
    extended = torch.cat((gates, gates.new_ones(1)))  # index -1 finds the 1 at the end
    result: dict[str, Tensor] = {}
    for (name, dim), ids in readers.items():
        weight = result.get(name, parameters[name])
        result[name] = scaled(weight, extended[ids].to(weight.dtype), dim)
    return result


def _tensor(network: nn.Module, name: str) -> Tensor:
    """The parameter or buffer of this name."""
    path, _, last = name.rpartition(".")
    tensor = getattr(network.get_submodule(path), last)
    assert isinstance(tensor, Tensor)
    return tensor


def layer_of(name: str, baked: Sequence[str]) -> str | None:
    """The layer whose weight this is, if it computes it: gated at its inputs, since its own computation would take the
    gates for weights."""
    path, _, last = name.rpartition(".")
    return path if last == "weight" and path in baked else None


def _size(network: nn.Module, path: str, dim: int) -> int:
    """How many inputs (1) of one group, or outputs (0), a layer has that computes its weight."""
    layer = network.get_submodule(path)
    if isinstance(layer, nn.Linear):
        return layer.in_features if dim else layer.out_features
    assert isinstance(layer, _ConvNd)
    return layer.in_channels // layer.groups if dim else layer.out_channels


class Gated(nn.Module):
    """A network and the architecture parameters of all its variables, as one module.

    ``s``: (num_gates,), trained or not as its ``requires_grad`` says; ``delta``: the scale of the sigmoid;
    ``hard``: gates are 0/1 in the forward pass and pass gradients straight through; ``enabled``: False skips the gates
    (the paper's first phase).

    Raises:
        UserError: if the space was made of another network.

    Examples:
        >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
        >>> space = Space.of(network, torch.randn(2, 3, 8, 8))
        >>> gated = Gated(network, space, start=1.0)
        >>> gated.s.shape
        torch.Size([8])
        >>> gated(torch.randn(2, 3, 8, 8)).sum().backward()
        >>> gated.s.grad.shape
        torch.Size([8])
    """

    def __init__(self, network: nn.Module, space: Space, start: float = 0.0) -> None:
        super().__init__()
        check_shapes(network, space.shapes, "the space")
        self.network = network
        self.s = nn.Parameter(torch.full((space.num_gates,), float(start)))
        self.delta = 1.0
        self.hard = False
        self.enabled = True
        self._places = list(space.gates)
        self._computed = {(name, dim): path for name, dim in self._places if (path := layer_of(name, space.baked))}
        plain = [name for name, dim in self._places if (name, dim) not in self._computed]
        self._slots = slots(network, [*plain, *(name for b in space.branches for name in b.bypass.places)])
        for number, (name, dim) in enumerate(self._places):
            ids = {**space.sources, **space.buffer_sources}[name][dim]
            assert ids is not None
            self.register_buffer(f"_ids{number}", ids, persistent=False)
        self._branches = [(place, b.variable) for b in space.branches for place in b.bypass.places]

    def gates(self) -> Tensor:
        """The gate of every variable, shape (num_gates,)."""
        return hard_gates(self.s, self.delta) if self.hard else sigmoid_gates(self.s, self.delta)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if not self.enabled:
            return self.network(*args, **kwargs)
        ids = {place: getattr(self, f"_ids{number}") for number, place in enumerate(self._places)}
        readers = {place: of_place for place, of_place in ids.items() if place not in self._computed}
        weights = {name: _tensor(self.network, name) for name, _ in readers}
        gates = self.gates()
        extended = torch.cat((gates, gates.new_ones(1)))
        computed: dict[str, dict[int, Tensor]] = {}
        for place, path in self._computed.items():
            computed.setdefault(path, {})[place[1]] = extended[ids[place]]
        scaled_weights = gated_weights(weights, gates, readers)
        for name, branch in self._branches:
            weight = scaled_weights.get(name, _tensor(self.network, name))
            scaled_weights[name] = weight * gates[branch].to(weight.dtype)
        return call_with(self.network, scaled_weights, self._slots, args, kwargs, computed)


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
            like = next(network.get_submodule(path).parameters()) if path else _tensor(network, name)
            gate = torch.zeros(
                _size(network, path, dim) if path else like.size(dim), dtype=like.dtype, device=like.device
            )
            gate[indices.to(like.device)] = 1
            self.register_buffer(f"_gate{len(self._places)}", gate, persistent=False)
            self._places.append((name, dim))
            if path:
                self._computed[name, dim] = path
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
            weights[name] = scaled(weights.get(name, _tensor(self.network, name)), gate, dim)
        weights |= {name: torch.zeros_like(_tensor(self.network, name)) for name in self._silent}
        return call_with(self.network, weights, self._slots, args, kwargs, computed)


def gated(network: nn.Module, architecture: Architecture) -> HardGated:
    """A module that computes ``network`` with the architecture's gates hard at 0/1, removing nothing.

    It shares the network's parameters.

    Raises:
        UserError: if the architecture was made for another network.

    Examples:
        >>> network, images = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3)), torch.randn(2, 3, 8, 8)
        >>> architecture = Architecture.random(Space.of(network, images), keep=0.5)
        >>> torch.allclose(gated(network, architecture)(images), dnal.compact(network, architecture)(images), atol=1e-6)
        True
    """
    architecture.check(network)
    gated_network = HardGated(network, architecture)
    return gated_network.train(network.training)
