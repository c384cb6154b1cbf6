"""Elementwise operations."""

from __future__ import annotations

import torch

from dnal.space.labels import carried, signature
from dnal.space.rules.registry import rule
from dnal.space.surgery.tensors import tensors_of
from dnal.space.trace import Call, Trace


@rule(
    "pointwise",
    "hardswish",
    "hardtanh",  # torch did not always tag these as pointwise
    "_prelu_kernel",
    "rrelu_with_noise",
    "native_dropout",
    "_to_copy",
    "empty_like",
    "zeros_like",
    "ones_like",
    "full_like",
    "rand_like",
    "randn_like",
    "bernoulli",
    "uniform",
    "normal",
    "exponential",
    "fake_quantize_per_tensor_affine_cachemask",
    "_fake_quantize_per_tensor_affine_cachemask_tensor_qparams",
)
def pointwise(t: Trace, c: Call) -> None:
    """Elementwise operations unite the labels of their operands. In place on a view, new labels would have to reach
    the base too, so they are frozen instead."""
    operands = tensors_of((c.args, c.kwargs))
    for out in tensors_of(c.out):
        layers = t.meet(out.shape, operands)
        if any(out is operand for operand in operands) and out._is_view():
            before = {d for layer in t.value(out).layers for d in signature(layer)}
            for layer in layers:
                if set(signature(layer)) - before:
                    t.ledger.freeze(layer, f"{c.func} writes it into a part of another tensor")
        first = t.value(operands[0]) if operands else None
        loose = t.loose_in(out.shape, operands)
        t.put(out, layers, first, first.parameter if first and c.name in ("clone", "_to_copy") else None)
        t.loosen(out, loose)


@rule("fill", "zero")
def fill(t: Trace, c: Call) -> None:
    """One number everywhere: the channels stay what they are. Zeros with a size that only happens to be a number of
    channels give themselves away where a part of those alone is written (a mask, filled region by region): they hold
    none."""
    part, whole = t.value(c.args[0]), t.value(c.args[0]._base)
    written = {label for layer in part.layers for label in layer.unique().tolist()}
    for layer in [layer for layer in whole.layers if t.ownerless(layer)]:
        labels = layer.unique()
        if not written.issuperset(labels.tolist()):
            whole.layers = [x for x in whole.layers if x is not layer]
            part.layers = [x for x in part.layers if not bool(torch.isin(x, labels).any())]
    pointwise(t, c)


@rule("copy")
def copy(t: Trace, c: Call) -> None:
    """Fills a whole tensor; written into a part of one, the channels of both are tied, and new labels would have to
    reach the rest."""
    target, source = c.args[0], c.args[1]
    if target._is_view():
        known = {d for layer in t.value(target).layers for d in signature(layer)}
        shift = target.dim() - source.dim()
        if any(d + shift not in known for layer in t.value(source).layers for d in signature(layer)):
            raise NotImplementedError("a copy into a part of a tensor")
        t.meet(target.shape, [target, source])
    else:
        extra = target.dim() - source.dim()
        loose = t.loose_in(target.shape, [source])
        t.put(target, [x[(None,) * extra].expand(target.shape) for x in t.value(source).layers], t.value(source))
        t.loosen(target, loose)


@rule("new_empty", "new_ones", "new_full")
def fresh(t: Trace, c: Call) -> None:
    """A dimension of the size that the source has there is one of its channels: noise and paddings are made so. Where
    the size was a number of its own, the probe finds out."""
    source, layers = c.args[0], []
    for layer in t.value(source).layers:
        dims = signature(layer)
        if layer.dim() == c.out.dim() and all(layer.size(d) == c.out.size(d) for d in dims):
            layers.append(carried(layer, c.out.shape, [d for d in range(layer.dim()) if d not in dims]))
    t.put(c.out, layers)


@rule("glu")
def glu(t: Trace, c: Call) -> None:
    """One half times the sigmoid of the other: the halves leave together."""
    source = c.args[0]
    dim = c.argument(1, "dim", -1) % source.dim()
    size, layers = c.out.size(dim), []
    for layer in t.value(source).layers:
        first, second = layer.narrow(dim, 0, size), layer.narrow(dim, size, size)
        t.ledger.tie(first, second)
        layers.append(first)
    t.put(c.out, layers, t.value(source))
