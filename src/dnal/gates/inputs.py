"""Layers whose gates may stand at their inputs instead of at their weights.

A convolution or linear layer computes the same of x g and W as of x and W g, for a gate g of every input channel. The
side with fewer entries is the cheaper one to multiply: that also is what the backward pass keeps, and what it computes
a gradient of. Hooks at the input cost something of their own, so that it must be the smaller one by some thousands.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import nn

from dnal.space.operations import Operation
from dnal.space.space import Space

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
WORTH = 2**14
"""Entries by which an input must be smaller than the weight."""
PRODUCTS = ("convolution", "addmm", "mm", "linear", "matmul", "bmm")


def readers_of(operations: Iterable[Operation]) -> dict[str, set[str]]:
    """By parameter or buffer, the paths of the modules that read it in a forward pass."""
    readers: dict[str, set[str]] = {}
    for operation in operations:
        for operand in operation.inputs:
            if operand.parameter is not None:
                readers.setdefault(operand.parameter, set()).add(operation.path)
    return readers


def input_gated(
    network: nn.Module,
    space: Space,
    places: Iterable[tuple[str, int]],
    slots: Mapping[str, Sequence[str]],
    readers: Mapping[str, set[str]],
) -> dict[tuple[str, int], tuple[str, float]]:
    """The places that may be gated at a layer's input, with the layer and the entries of its input for each entry of a
    call.

    They are those of plain layers, of torch's own code, that are the only ones to read their weight in a forward pass,
    and read it in one group. The size of a call is the number of entries in the tensors that the network is given: a
    layer's input is taken to grow with it.

    Args:
        places: (parameter, dimension). slots: by parameter, the places that hold it. readers: of :func:`readers_of`.
    """
    size = entries_of(space.example)
    if not size:  # the example is not known
        return {}
    read: dict[str, int] = {}
    for operation in space.operations:
        if operation.name in PRODUCTS:
            layer = network.get_submodule(operation.path)
            if isinstance(layer, nn.Linear):
                rows = math.prod(operation.outputs[0].shape) // layer.out_features
                entries = rows * layer.in_features
            else:
                entries = math.prod(operation.inputs[0].shape)
            read[operation.path] = read.get(operation.path, 0) + entries
    found = {}
    for name, dim in places:
        path = name.removesuffix(".weight")
        if dim != 1 or path == name or readers.get(name) != {path} or not read.get(path) or len(slots[name]) > 1:
            continue
        layer = network.get_submodule(path)
        # A subclass may do something else with its weight, and so may a forward of this one object.
        if type(layer) in LAYERS and "forward" not in vars(layer) and getattr(layer, "groups", 1) == 1:
            found[name, dim] = (path, read[path] / size)
    return found


def kept_for(space: Space) -> float:
    """Entries that the layers of a network at least keep for their backward pass, for each entry of a call: what
    operations read together with parameters, or with what is made of parameters alone. 0 where the example is not
    known."""
    size, kept, weights = entries_of(space.example), dict[int, int](), set[int]()
    for operation in space.operations:
        read = [one for one in operation.inputs if one.parameter is None and one.number not in weights]
        if not read:
            weights |= {one.number for one in operation.outputs if operation.inputs}
        elif len(read) < len(operation.inputs):
            kept |= {one.number: math.prod(one.shape) for one in read}
    return sum(kept.values()) / size if size else 0.0


def entries_of(example: Any) -> int:
    """Entries of all tensors in described inputs; 0 where there is no description."""
    if isinstance(example, Mapping) and "shape" in example:
        return math.prod(example["shape"])
    held = example.values() if isinstance(example, Mapping) else example if isinstance(example, list) else ()
    return sum(map(entries_of, held))
