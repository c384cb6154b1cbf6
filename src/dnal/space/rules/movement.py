"""Data movement: views, concatenation, look-ups. Executed on the labels themselves."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dnal.space.labels import along, carried, compressed, matched, signature
from dnal.space.rules.registry import RULES, rule
from dnal.space.surgery.tensors import tensors_of
from dnal.space.trace import Call, Trace


@rule("view")
def view(t: Trace, c: Call) -> None:
    """Pure data movement is executed on the labels themselves."""
    source = c.args[0]
    value = t.value(source)
    results = tensors_of(c.out)
    layers = [_moved(c, layer) for layer in value.layers]
    loose = [_moved(c, layer) for layer in value.loose]
    for position, out in enumerate(results):
        whole = len(results) == 1 and out.numel() == source.numel()
        t.put(out, [pieces[position] for pieces in layers], value, value.parameter if whole else None)
        t.loosen(out, [pieces[position] for pieces in loose])


RULES.update(dict.fromkeys(("_unsafe_view", "_reshape_copy", "flip", "roll", "pixel_unshuffle"), view))
RULES.update(dict.fromkeys(("pixel_shuffle", "channel_shuffle", "native_channel_shuffle", "unfold"), view))


MOST = 2**16
"""Entries of what is repeated that may follow others: masks for each head, not maps of positions."""


@rule("expand", "repeat")
def repeat(t: Trace, c: Call) -> None:
    """A value of one entry that is repeated along a dimension has as many there as what it meets."""
    view(t, c)
    source, out = c.args[0], c.out
    new = out.dim() - source.dim()
    sizes = [n if d < new or source.size(d - new) == 1 else 1 for d, n in enumerate(out.shape)]
    if 1 < math.prod(sizes) <= MOST:
        t.loosen(out, [*t.value(out).loose, t.ledger.fresh(math.prod(sizes)).view(sizes).expand(out.shape)])


def _moved(c: Call, layer: Tensor) -> list[Tensor]:
    if c.name in ("view", "_unsafe_view", "_reshape_copy"):
        return [compressed(layer.reshape(c.out.shape))]  # a label layer is not contiguous where the value is
    if c.func.is_view:
        return tensors_of(c.func(layer, *c.args[1:], **c.kwargs))
    moved = c.func(layer.double(), *c.args[1:], **c.kwargs)  # not every operation moves integers; 53 bits are plenty
    return [compressed(piece.long()) for piece in tensors_of(moved)]


@rule("slice", "select", "split_with_sizes", "unsafe_split_with_sizes", "unbind", "narrow")
def part(t: Trace, c: Call) -> None:
    """A piece of a channel dimension: its own channels, at least one of which must stay."""
    view(t, c)
    for out in tensors_of(c.out):
        if out.numel() != c.args[0].numel():
            for layer in t.value(out).layers:
                t.part(layer)


@rule("split", "unsafe_split")
def split(t: Trace, c: Call) -> None:
    """Equal pieces are cut from a size known only when running, so that they must stay equal: their labels are tied."""
    part(t, c)
    pieces = [t.value(out).layers for out in c.out if out.shape == c.out[0].shape]
    for layers in pieces[1:]:
        for one, other in zip(pieces[0], layers, strict=True):
            t.ledger.tie(one, other)


@rule("as_strided")
def restride(t: Trace, c: Call) -> None:
    """Reads memory, so it freezes, except for other strides of dimensions of size 1, as channels-last pooling has."""
    source, value = c.args[0], t.value(c.args[0])
    before = (
        torch.empty(c.out.shape, device="meta") if c.out is source else source
    )  # in place: the old strides are gone
    same = all(x.shape == c.out.shape for x in value.layers) and all(
        size == 1 or old == new for size, old, new in zip(c.out.shape, before.stride(), c.out.stride(), strict=False)
    )
    if same and before.dim() == c.out.dim() and (c.out is source or c.out.storage_offset() == source.storage_offset()):
        t.put(c.out, value.layers, value, value.parameter)
    else:
        t.freeze(source, "as_strided reads its memory")
        if c.out is not source:
            t.put(c.out, [])


@rule("cat", "stack")
def concatenate(t: Trace, c: Call) -> None:
    """Layers that run along the concatenated dimension are concatenated, the others meet elementwise."""
    pieces = [p for p in c.args[0] if p.dim() > 1 or p.numel()]
    dim = c.argument(1, "dim", 0) % c.out.dim()
    stacked = c.name == "stack"
    sizes = [1 if stacked else p.size(dim) for p in pieces]
    layers = [[x.unsqueeze(dim) if stacked else x for x in t.value(p).layers] for p in pieces]
    across = [carried(x, c.out.shape, [dim]) for piece in layers for x in piece if dim not in signature(x)]
    for piece, tensor in zip(layers, pieces, strict=True):
        covered = {d for x in piece for d in signature(x)}
        for x in across:
            if set(signature(x)) - covered:
                t.ledger.freeze(x, f"it is concatenated with {t.value(tensor).origin}")
    result = matched(t.ledger, across)
    if any(dim in signature(x) for piece in layers for x in piece):
        columns = []
        for piece, tensor, size in zip(layers, pieces, sizes, strict=True):
            running = [x for x in piece if dim in signature(x)]
            if not running:
                fixed = t.ledger.fresh(size)
                t.ledger.freeze(fixed, t.value(tensor).origin)
                running = [along(fixed, dim, [*c.out.shape[:dim], size, *c.out.shape[dim + 1 :]])]
            for extra in running[1:]:
                t.ledger.freeze(extra, f"two kinds of channels meet in {c.func}")
            columns.append(running[0])
        result.append(compressed(torch.cat(columns, dim)))
    t.put(c.out, result, t.value(pieces[0]))


@rule("index", "index_select", "gather", "embedding", "take_along_dim")
def look_up(t: Trace, c: Call) -> None:
    """Positions that are looked up by number keep their places; the other dimensions pass."""
    source, where = c.args[0], c.args[1]
    if c.name == "index":
        looked_up = _indexed(source, where)
    elif c.name == "embedding":
        looked_up = [0]
    else:
        looked_up = [c.args[1] % source.dim()]
    indices = tensors_of(c.args[1:])
    for index in indices:
        t.freeze(index, f"{c.func} looks up by it")
    if c.name == "gather":  # its index is as large as its result
        t.freeze(source, f"{c.func} looks it up")
        return t.put(c.out, [])
    layers = t.settled(source, looked_up, f"{c.func} looks it up by number")
    return t.put(c.out, [compressed(c.func(x, *c.args[1:], **c.kwargs)) for x in layers], t.value(source))


@rule("index_add")
def add_at(t: Trace, c: Call) -> None:
    """Places of one value are added to those of another, by number, as a graph's neighbours are summed: both keep these
    places, and the other dimensions meet elementwise."""
    target, dim, index, source = c.args[0], c.args[1] % c.out.dim(), c.args[2], c.args[3]
    if c.out is target and target._is_view():
        raise NotImplementedError("a sum into a part of a tensor")
    t.freeze(index, f"{c.func} adds by it")
    sides = [(own, t.settled(own, [dim], f"{c.func} adds it up by number")) for own in (target, source)]
    layers = [[carried(layer, c.out.shape, [dim]) for layer in own] for _, own in sides]
    for (_, own), (other, met) in zip(sides, sides[::-1], strict=True):
        covered = {d for layer in met for d in signature(layer)}
        for layer in own:
            if set(signature(layer)) - covered:
                t.ledger.freeze(layer, f"it is added to {t.value(other).origin}")
    t.put(c.out, matched(t.ledger, [layer for own in layers for layer in own]), t.value(source))


def _indexed(source: Tensor, indices: list[Tensor | None]) -> list[int]:
    """The dimensions of ``source`` that an index picks from; a mask covers as many as it has."""
    dims: list[int] = []
    at = 0
    for index in indices:
        width = index.dim() if index is not None and index.dtype in (torch.bool, torch.uint8) else 1
        dims += list(range(at, at + width)) if index is not None else []
        at += width
    return dims
