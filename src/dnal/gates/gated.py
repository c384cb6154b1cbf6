"""Gates at the readers: the network with every channel multiplied by its gate, where the channel is read.

A channel is alive if and only if something reads it. Instead of a layer after each convolution (arXiv 2103.02126:
out_c = x_c * sigmoid(delta s_c)), the weight slice that reads channel i is multiplied by the gate of i. On
convolution - batch norm - ReLU chains both are equal, because ReLU(a x) = a ReLU(x) for a > 0. They are NOT equal
behind ReLU6 or another activation that does not scale, nor in residual sums, where the paper gates each block's output
and here the stream has one tied variable. In exchange a closed gate is exactly a removed channel, whatever stands in
between: a norm that runs over channels takes its mean over those that are open, each weighted by its gate
(:mod:`dnal.space.surgery.norms`).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dnal.architecture.architecture import check_shapes
from dnal.gates.functions import along, hard_gates, sigmoid_gates
from dnal.gates.inputs import WORTH, input_gated, kept_for, readers_of
from dnal.space.space import Space
from dnal.space.surgery.products import Products
from dnal.space.surgery.substitute import call_with, slots, written_out
from dnal.space.surgery.tensors import tensors_of

KEPT = 0.1
"""Products of weights or inputs with their gates that are kept for the backward pass, the smallest ones, as a share of
what the network keeps anyway. The others are computed again."""
CALLS = 64
"""Sizes of a call for which it is remembered how they are computed."""


class _Way(NamedTuple):
    """How a call of some size is computed.

    Attributes:
        at_layers: the places that are gated at a layer instead of at its weight, with the layer.
        again, again_at: weights, and layers whose inputs, times gates are computed again for the backward pass.
    """

    at_layers: dict[tuple[str, int], str]
    again: frozenset[str]
    again_at: frozenset[str]


def tensor_of(network: nn.Module, name: str) -> Tensor:
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


class Gated(nn.Module):
    """A network and the architecture parameters of all its variables, as one module.

    ``s``: (num_gates,), trained or not as its ``requires_grad`` says; ``delta``: the scale of the sigmoid;
    ``hard``: gates are 0/1 in the forward pass and pass gradients straight through; ``enabled``: False skips the gates
    (the paper's first phase). ``closed``: bool (num_gates,), the gates that stay at 0 whatever their s; part of its
    state, where there are any.

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

    def __init__(self, network: nn.Module, space: Space, start: float = 0.0, *, closed: Tensor | None = None) -> None:
        super().__init__()
        check_shapes(network, space.shapes, "the space")
        self.network = network
        self.s = nn.Parameter(torch.full((space.num_gates,), float(start)))
        self.delta = 1.0
        self.hard = False
        self.enabled = True
        self.closed: Tensor | None
        self.register_buffer("closed", None if closed is None else closed.detach().clone())
        self._places = list(space.gates)
        self._computed = {(name, dim): path for name, dim in self._places if (path := layer_of(name, space.baked))}
        self._branches = [(place, b.variable) for b in space.branches for place in b.bypass.places]
        # Many norms run over the channels of one stream: their weights are gathered once.
        over = {rule.channels.numpy().tobytes(): rule.channels for rule in space.norms}
        self._norms = [(rule.call, list(over).index(rule.channels.numpy().tobytes())) for rule in space.norms]
        plain = [place for place in self._places if place not in self._computed]
        self._slots = slots(network, [name for name, _ in (*plain, *self._branches)])
        self._readers = readers_of(space.operations)
        self._at_inputs = input_gated(network, space, plain, self._slots, self._readers)
        sources = {**space.sources, **space.buffer_sources}
        read = [sources[name][dim] for name, dim in self._places]
        ids = [*(each for each in read if each is not None), *(torch.tensor([branch]) for _, branch in self._branches)]
        ids += over.values()
        self._ids: Tensor
        self._sizes = [len(each) for each in ids]
        joined = torch.cat([torch.empty(0, dtype=torch.long), *ids])
        joined = torch.where(joined < 0, space.num_gates, joined)  # of what is fixed: the 1 behind the last gate
        self.register_buffer("_ids", joined, persistent=False)
        self._anyway = kept_for(space)
        self._ways: dict[tuple[int, bool], _Way] = {}
        self._behind = {(name, dim): _behind(tensor_of(network, name), dim) for name, dim in plain}
        self._gathered: dict[tuple[torch.device, frozenset[tuple[str, int]]], tuple[Tensor, list[int]]] = {}

    def gates(self) -> Tensor:
        """The gate of every variable, shape (num_gates,)."""
        gates = hard_gates(self.s, self.delta) if self.hard else sigmoid_gates(self.s, self.delta)
        return gates if self.closed is None else gates * ~self.closed

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if not self.enabled:
            return self.network(*args, **kwargs)
        gates = self.gates()
        at_layers, again, again_at = self._way(args, kwargs)
        own = {name: tensor_of(self.network, name) for name, _ in (*self._behind, *self._branches)}
        # One gather of all gates: on a GPU an index of its own for every layer, and its gradient, is a kernel each.
        ids, sizes = self._gather(at_layers, own)
        read = torch.cat((gates, gates.new_ones(1))).index_select(0, ids).split(sizes)
        factors: dict[str, list[Tensor]] = {}
        layers: dict[str, dict[int, Tensor]] = {}
        for (name, dim), gate in zip(self._places, read[: len(self._places)], strict=True):
            if (name, dim) in at_layers:
                layers.setdefault(at_layers[name, dim], {})[dim] = gate
            else:
                factors.setdefault(name, []).append(along(gate, own[name], dim))
        read = read[len(self._places) :]
        for (name, _), gate in zip(self._branches, read[: len(self._branches)], strict=True):
            factors.setdefault(name, []).append(gate.to(own[name].dtype))
        over = read[len(self._branches) :]
        norms = {call: over[number] for call, number in self._norms}
        products = Products(again_at)
        weights = {}
        for name, by in factors.items():
            weights[name] = product = _product(own[name], by)
            if name in again:
                products.add(product, own[name], by, self._readers.get(name, {""}))
        return call_with(self.network, weights, self._slots, args, kwargs, layers, products, norms)

    def _gather(self, at_layers: Collection[tuple[str, int]], own: Mapping[str, Tensor]) -> tuple[Tensor, list[int]]:
        """Which gates are read, of all places one behind the other, and how many of each. A gate that is written out
        is there once for every entry behind a channel."""
        if self._ids.device.type != "cpu" or torch.compiler.is_compiling():
            return self._ids, self._sizes
        long = frozenset(
            place
            for place, behind in self._behind.items()
            if behind > 1 and place not in at_layers and own[place[0]].is_contiguous()
        )
        key = (self._ids.device, long)
        if key not in self._gathered:
            times = [self._behind[place] if place in long else 1 for place in self._places]
            times += [1] * (len(self._sizes) - len(self._places))
            parts = self._ids.split(self._sizes)
            written = [ids.repeat_interleave(count) for ids, count in zip(parts, times, strict=True)]
            self._gathered[key] = torch.cat([self._ids[:0], *written]), [len(each) for each in written]
        return self._gathered[key]

    def _way(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Way:
        """Inputs are gated only in training: without gradients torch may take a fast path past the layers. Under
        autocast they have fewer digits than weights, which the gradient of a gate would lose. What is compiled
        multiplies weights, without a pass of its own, and decides itself what is computed again."""
        if torch.compiler.is_compiling() or not torch.is_grad_enabled():
            return _Way(self._computed, frozenset(), frozenset())
        device = self.s.device.type
        mixed = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
        size = sum(tensor.numel() for tensor in tensors_of((args, kwargs)))
        key = (size, self.training and not mixed)
        if key not in self._ways:
            if len(self._ways) == CALLS:
                self._ways.clear()
            self._ways[key] = self._way_of(*key)
        return self._ways[key]

    def _way_of(self, size: int, inputs: bool) -> _Way:
        """That of a call with so many entries, in which inputs may be gated or not."""
        weights = {name: tensor_of(self.network, name).numel() for name, _ in (*self._behind, *self._branches)}
        at_inputs, entries = {}, {}
        for (name, dim), (path, of_input) in self._at_inputs.items():
            if inputs and size * of_input < weights[name] - WORTH:
                at_inputs[name, dim] = path
                entries[path] = size * of_input
        at_layers = self._computed | at_inputs
        read: dict[tuple[bool, str], float]
        read = {(False, name): weights[name] for name, dim in self._places if (name, dim) not in at_layers}
        read |= {(False, name): weights[name] for name, _ in self._branches}
        read |= {(True, path): entries.get(path, math.inf) for path in at_layers.values()}
        again, kept = set(), 0.0
        for product in sorted(read, key=lambda one: read[one]):
            kept += read[product]
            if kept > KEPT * self._anyway * size:
                again.add(product)
        return _Way(
            at_layers,
            frozenset(name for at_layer, name in again if not at_layer),
            frozenset(path for at_layer, path in again if at_layer),
        )


def _product(weight: Tensor, factors: Sequence[Tensor]) -> Tensor:
    for factor in factors:
        weight = weight * factor
    return weight


def _behind(weight: Tensor, dim: int) -> int:
    """How often a gate is repeated for a slice of the weight: once for all, or for every entry behind ``dim``."""
    inner = weight.shape[dim + 1 :].numel()
    return inner if written_out(inner, weight.shape[:dim].numel()) else 1
