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
from dnal.gates.functions import gated_weights, hard_gates, sigmoid_gates
from dnal.space.space import Space
from dnal.space.surgery.substitute import call_with, slots


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
        plain = [name for name, dim in self._places if (name, dim) not in self._computed]
        self._slots = slots(network, [*plain, *(name for b in space.branches for name in b.bypass.places)])
        for number, (name, dim) in enumerate(self._places):
            ids = {**space.sources, **space.buffer_sources}[name][dim]
            assert ids is not None
            self.register_buffer(f"_ids{number}", ids, persistent=False)
        self._branches = [(place, b.variable) for b in space.branches for place in b.bypass.places]

    def gates(self) -> Tensor:
        """The gate of every variable, shape (num_gates,)."""
        gates = hard_gates(self.s, self.delta) if self.hard else sigmoid_gates(self.s, self.delta)
        return gates if self.closed is None else gates * ~self.closed

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if not self.enabled:
            return self.network(*args, **kwargs)
        ids = {place: getattr(self, f"_ids{number}") for number, place in enumerate(self._places)}
        readers = {place: of_place for place, of_place in ids.items() if place not in self._computed}
        weights = {name: tensor_of(self.network, name) for name, _ in readers}
        gates = self.gates()
        extended = torch.cat((gates, gates.new_ones(1)))
        computed: dict[str, dict[int, Tensor]] = {}
        for place, path in self._computed.items():
            computed.setdefault(path, {})[place[1]] = extended[ids[place]]
        scaled_weights = gated_weights(weights, gates, readers)
        for name, branch in self._branches:
            weight = scaled_weights.get(name, tensor_of(self.network, name))
            scaled_weights[name] = weight * gates[branch].to(weight.dtype)
        return call_with(self.network, scaled_weights, self._slots, args, kwargs, computed)
