"""Gates at the readers: the network with every channel multiplied by its gate, where the channel is read.

A channel is alive if and only if something reads it. Instead of a layer after each convolution (arXiv 2103.02126:
out_c = x_c * sigmoid(delta s_c)), the weight slice that reads channel i is multiplied by the gate of i. On
convolution - batch norm - ReLU chains both are equal, because ReLU(a x) = a ReLU(x) for a > 0. They are NOT equal
behind ReLU6 or another activation that does not scale, nor in residual sums, where the paper gates each block's output
and here the stream has one tied variable. In exchange a closed gate is exactly a removed channel, whatever stands in
between.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dnal.architecture.architecture import check_shapes
from dnal.gates.functions import along, hard_gates, sigmoid_gates
from dnal.gates.inputs import input_gated
from dnal.space.space import Space
from dnal.space.surgery.products import Products
from dnal.space.surgery.substitute import call_with, slots
from dnal.space.surgery.tensors import tensors_of


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
        plain = [place for place in self._places if place not in self._computed]
        self._slots = slots(network, [name for name, _ in (*plain, *self._branches)])
        self._at_inputs = input_gated(network, space, plain, self._slots)
        sources = {**space.sources, **space.buffer_sources}
        read = [sources[name][dim] for name, dim in self._places]
        ids = [*(each for each in read if each is not None), *(torch.tensor([branch]) for _, branch in self._branches)]
        self._ids: Tensor
        self._sizes = [len(each) for each in ids]
        joined = torch.cat([torch.empty(0, dtype=torch.long), *ids])
        joined = torch.where(joined < 0, space.num_gates, joined)  # of what is fixed: the 1 behind the last gate
        self.register_buffer("_ids", joined, persistent=False)

    def gates(self) -> Tensor:
        """The gate of every variable, shape (num_gates,)."""
        gates = hard_gates(self.s, self.delta) if self.hard else sigmoid_gates(self.s, self.delta)
        return gates if self.closed is None else gates * ~self.closed

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if not self.enabled:
            return self.network(*args, **kwargs)
        gates = self.gates()
        # One gather of all gates: on a GPU an index of its own for every layer, and its gradient, is a kernel each.
        read = torch.cat((gates, gates.new_ones(1))).index_select(0, self._ids).split(self._sizes)
        at_layers = self._computed | self._smaller_inputs(args, kwargs)
        factors: dict[str, list[Tensor]] = {}
        layers: dict[str, dict[int, Tensor]] = {}
        for (name, dim), gate in zip(self._places, read[: len(self._places)], strict=True):
            if (name, dim) in at_layers:
                layers.setdefault(at_layers[name, dim], {})[dim] = gate
            else:
                factors.setdefault(name, []).append(along(gate, tensor_of(self.network, name), dim))
        for (name, _), gate in zip(self._branches, read[len(self._places) :], strict=True):
            factors.setdefault(name, []).append(gate.to(tensor_of(self.network, name).dtype))
        products = Products()
        weights = {name: _product(tensor_of(self.network, name), own, products) for name, own in factors.items()}
        return call_with(self.network, weights, self._slots, args, kwargs, layers, products)

    def _smaller_inputs(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[tuple[str, int], str]:
        """The places that are gated at the input of their layer in this call. Only in training: without gradients
        torch may take a fast path past the layers. Under autocast inputs have fewer digits than weights, which the
        gradient of a gate would lose; what is compiled multiplies weights without a pass of its own."""
        device = self.s.device.type
        mixed = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
        if not self._at_inputs or not self.training or not torch.is_grad_enabled() or mixed:
            return {}
        if torch.compiler.is_compiling():
            return {}
        size = sum(tensor.numel() for tensor in tensors_of((args, kwargs)))
        return {place: path for place, (path, most) in self._at_inputs.items() if size < most}


def _product(weight: Tensor, factors: Sequence[Tensor], products: Products) -> Tensor:
    product = weight
    for factor in factors:
        product = product * factor
    products.add(product, weight, factors)
    return product
