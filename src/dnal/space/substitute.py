"""Runs a network with other tensors in the place of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call


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
) -> Any:
    """network(*args, **kwargs) with ``substitutes`` (by name) in all their ``places`` (of :func:`slots`)."""
    spread = {place: tensor for name, tensor in substitutes.items() for place in places[name]}
    return functional_call(network, spread, args, kwargs, tie_weights=False)
