"""One traced operation run again in PyTorch, at any sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from dnal.latency.layers import Layer

DTYPES = {4: torch.float32, 2: torch.bfloat16, 8: torch.float64}


def call_of(layer: Layer, shapes: Sequence[tuple[int, ...]], device: torch.device) -> Callable[[], object] | None:
    """A call of the layer's operation on tensors of these shapes; None where it does not run at them."""
    if any(size not in DTYPES for size in layer.itemsizes):
        return None
    tensors = []
    for shape, size in zip(shapes, layer.itemsizes, strict=True):
        tensor = (0.5 + torch.rand(shape, device=device)).to(DTYPES[size])
        order = torch.channels_last if layer.channels_last and tensor.dim() == 4 else torch.contiguous_format
        tensors.append(tensor.contiguous(memory_format=order))
    pieces = iter(tensors)
    arguments = [_filled(a, pieces) for a in layer.at(shapes)]
    operation = getattr(torch.ops.aten, layer.operation, None)
    if operation is None:
        return None
    try:
        with torch.no_grad():
            operation(*arguments)
    except (RuntimeError, TypeError, IndexError, ValueError):  # sizes among its arguments that do not fit
        return None
    return lambda: operation(*arguments)


def _filled(argument: Any, tensors: Iterator[Tensor]) -> Any:
    """The argument with the next tensors in the places of None, as far as there are any."""
    if isinstance(argument, tuple):
        return [_filled(item, tensors) for item in argument]
    return next(tensors, None) if argument is None else argument
