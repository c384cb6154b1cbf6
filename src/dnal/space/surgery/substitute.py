"""Runs a network with other tensors in the place of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.utils.hooks import RemovableHandle

from dnal.space.lasting import lasting
from dnal.space.surgery.norms import NormCall, weighted
from dnal.space.surgery.products import Products


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
    products: Products | None = None,
    norms: Mapping[NormCall, Tensor] | None = None,
) -> Any:
    """network(*args, **kwargs) with ``substitutes`` (by name) in all their ``places`` (of :func:`slots`).

    ``gates``: by layer and dimension of its weight, what a layer has its inputs (1) or outputs (0) multiplied with
    instead. ``products``: those among the substitutes that the backward pass shall compute again; inputs times gates
    join them. ``norms``: by calls that take means over channels, the weights of these. Parts of the network that
    torch.utils.checkpoint computes again for the backward pass find all of these there too.

    Raises:
        UserError: where something else than torch.utils.checkpoint would run a part of it again.
    """
    spread = {place: tensor for name, tensor in substitutes.items() for place in places[name]}
    made = products or Products()
    with lasting(lambda: _substituted(network, spread, gates or {}, made, norms or {})):
        return network(*args, **kwargs)


@contextmanager
def _substituted(
    network: nn.Module,
    spread: Mapping[str, Tensor],
    gates: Mapping[str, Mapping[int, Tensor]],
    products: Products,
    norms: Mapping[NormCall, Tensor],
) -> Iterator[None]:
    with ExitStack() as stack:
        if norms:
            stack.enter_context(weighted(network, norms))
        if torch.is_grad_enabled() and not torch.compiler.is_compiling():
            for path in products.readers - (gates.keys() if products.layers is None else set(products.layers)):
                for handle in products.not_kept_by(network.get_submodule(path)):
                    stack.callback(handle.remove)
        for path, of_layer in gates.items():
            layer = network.get_submodule(path)
            for dim, gate in of_layer.items():
                known = products if products.layers is None or path in products.layers else None
                for handle in _multiplied(layer, gate, known, inputs=dim == 1):
                    stack.callback(handle.remove)
        held, found = [], {"": network}
        for place, tensor in spread.items():
            path, _, name = place.rpartition(".")
            module = found.get(path) or _module(found, path)
            tensors: dict[str, Any] = module._parameters if name in module._parameters else module._buffers
            held.append((tensors, name, tensors[name]))
            tensors[name] = tensor
        try:
            yield
        finally:
            for tensors, name, own in held:
                tensors[name] = own


def _module(found: dict[str, nn.Module], path: str) -> nn.Module:
    """The module at ``path``, and all on the way to it, noted in ``found``: every step of a training asks for it."""
    if path not in found:
        parent, _, name = path.rpartition(".")
        module = _module(found, parent)._modules[name]
        assert module is not None
        found[path] = module
    return found[path]


SHORT, MANY = 32, 8
"""Entries behind a channel, and rows of channels, from which on a factor is written out: a CPU multiplies long rows."""


def written_out(inner: int, outer: int) -> bool:
    """Whether a gate for each of some channels is better repeated for the ``inner`` entries behind each, such as those
    of a small kernel, where there are ``outer`` such rows of channels."""
    return 1 < inner <= SHORT and outer >= MANY


def _multiplied(layer: nn.Module, gate: Tensor, products: Products | None, inputs: bool) -> list[RemovableHandle]:
    """Multiplies a layer's input or output channels by a gate, (channels of one group,), until the handles go."""

    def factor(x: Tensor) -> Tensor:
        behind = len(layer.kernel_size) if isinstance(layer, _ConvNd) else 0  # a batch may be there or not
        dim = x.dim() - 1 - behind
        whole = gate.to(x.dtype)
        if gate.numel() != x.size(dim):
            whole = whole.repeat(x.size(dim) // gate.numel())
        whole = whole.view([-1 if d == dim else 1 for d in range(x.dim())])
        inner, outer = x.shape[dim + 1 :].numel(), x.shape[:dim].numel()
        if x.device.type == "cpu" and written_out(inner, outer) and x.is_contiguous():
            return whole.expand(whole.shape[: dim + 1] + x.shape[dim + 1 :]).contiguous()
        return whole

    def before(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        by = factor(args[0])
        product = args[0] * by
        if products is not None:
            products.add(product, args[0], [by])
        return (product, *args[1:])

    def after(_: nn.Module, args: tuple[Any, ...], out: Any) -> None:
        if products is not None:
            products.forget(args[0])  # from here on its place in memory may be another tensor's

    if not inputs:
        return [layer.register_forward_hook(lambda _, args, out: out * factor(out))]
    handles = [layer.register_forward_pre_hook(before), layer.register_forward_hook(after, always_call=True)]
    if products is not None and torch.is_grad_enabled() and not torch.compiler.is_compiling():
        handles += products.not_kept_by(layer)
    return handles
