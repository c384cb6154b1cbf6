"""Runs a network with other tensors in the place of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.hooks import RemovableHandle


def slots(network: nn.Module, names: Iterable[str]) -> dict[str, list[str]]:
    """For each named parameter or buffer all the places that hold it, every place once.

    A tensor tied between two modules has two places; one in a module that stands at two paths has one. (torch's own
    ``tie_weights`` takes the second path for a second place, and leaves the substitute in the network for good.)
    """
    held: dict[int, list[str]] = {}
    tensors: dict[str, Tensor] = {}
    for path, module in network.named_modules(remove_duplicate=False):
        for name, tensor in [*module._parameters.items(), *module._buffers.items()]:
            if tensor is not None:
                tensors[f"{path}.{name}" if path else name] = tensor
    for path, module in network.named_modules():
        for name, tensor in [*module._parameters.items(), *module._buffers.items()]:
            if tensor is not None:
                held.setdefault(id(tensor), []).append(f"{path}.{name}" if path else name)
    return {name: held[id(tensors[name])] for name in names}


def call_with(
    network: nn.Module,
    substitutes: Mapping[str, Tensor],
    places: Mapping[str, list[str]],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    gates: Mapping[str, Mapping[int, Tensor]] | None = None,
) -> Any:
    """network(*args, **kwargs) with ``substitutes`` (by name) in all their ``places`` (of :func:`slots`).

    ``gates``: by layer and dimension of its weight, what a layer that computes its weight has its inputs (1) or
    outputs (0) multiplied with instead.
    """
    spread = {place: tensor for name, tensor in substitutes.items() for place in places[name]}
    with ExitStack() as stack:
        for path, of_layer in (gates or {}).items():
            layer = network.get_submodule(path)
            for dim, gate in of_layer.items():
                handle = _multiplied(layer, gate, inputs=dim == 1)
                stack.callback(handle.remove)
        return functional_call(network, spread, args, kwargs, tie_weights=False)


def _multiplied(layer: nn.Module, gate: Tensor, inputs: bool) -> RemovableHandle:
    """Multiplies a layer's input or output channels by a gate, (channels of one group,), until the handle goes."""

    def scaled(x: Tensor) -> Tensor:
        dim = x.dim() - 1 if isinstance(layer, nn.Linear) else 1
        whole = gate.to(x.dtype).repeat(x.size(dim) // gate.numel())
        return x * whole.view([-1 if d == dim else 1 for d in range(x.dim())])

    if inputs:
        return layer.register_forward_pre_hook(lambda _, args: (scaled(args[0]), *args[1:]))
    return layer.register_forward_hook(lambda _, args, out: scaled(out))
