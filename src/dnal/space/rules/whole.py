"""Products of which every channel stays: what they multiply is counted, and nothing of it may leave."""

from __future__ import annotations

import math

import torch

from dnal.space.rules.registry import rule
from dnal.space.surgery.tensors import tensors_of
from dnal.space.trace import Call, Trace


def _stays(t: Trace, c: Call) -> None:
    """Freezes all that the operation takes; what it gives has channels that vary with nothing."""
    given = tensors_of((c.args, c.kwargs))
    for tensor in given:
        t.freeze(tensor, f"{c.func} takes all of it")
    for out in tensors_of(c.out):
        if not any(out is tensor for tensor in given):
            t.put(out, [])


@rule("_trilinear")
def trilinear(t: Trace, c: Call) -> None:
    """Bilinear layers: the sum over products of three tensors, each expanded along some of the common dimensions. As
    torch runs it, the first two are multiplied and summed over what the third does not have, then comes the third."""
    _stays(t, c)
    shapes = []
    for tensor, expanded in zip(c.args[:3], c.args[3:6], strict=True):
        shape = list(tensor.shape)
        for dim in sorted(expanded):
            shape.insert(dim, 1)
        shapes.append(shape)
    pair = torch.broadcast_shapes(*shapes[:2])
    left = [1 if dim in c.args[6] and dim in c.args[5] else size for dim, size in enumerate(pair)]
    products = math.prod(pair) + math.prod(torch.broadcast_shapes(left, shapes[2]))
    t.multiply(t.value(c.args[1]).parameter, products / t.batch)


@rule("mv", "addmv")
def matrix_times_vector(t: Trace, c: Call) -> None:
    """(n, k) times (k,). Where both belong to the network it computes a weight (spectral norm), for all examples."""
    matrix, vector = c.args[-2:]
    _stays(t, c)
    names = [t.value(x).parameter for x in (matrix, vector)]
    if not all(names):
        t.multiply(names[0] or names[1], 1 / t.batch, (matrix, 0, None), (matrix, 1, None))
