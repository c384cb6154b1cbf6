"""What each ATen operation does to labels: one short function a kind of operation, one registry.

To add an operation: write ``def rule(t: Trace, c: Call)``, decorate it with the operation's names (without overload and
without the in-place underscore) and read ``t.axis`` / ``t.meet``, write ``t.put``. Whatever has no rule is frozen, so a
missing rule costs removable channels, never correctness.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from dnal.space.labels import along, carried, compressed, matched, signature
from dnal.space.trace import KERNEL, Call, Rule, Side, Trace, tensors_of

RULES: dict[str, Rule] = {}


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Registers a function as the rule of these operations."""

    def register(function: Rule) -> Rule:
        for name in names:
            RULES[name] = function
        return function

    return register


# Elementwise and views -----------------------------------------------------------------------------------------------


@rule(
    "pointwise",
    "hardswish",
    "_prelu_kernel",
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
    "zero",
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
        t.put(out, layers, first, first.parameter if first and c.name in ("clone", "_to_copy") else None)


@rule("view")
def view(t: Trace, c: Call) -> None:
    """Pure data movement is executed on the labels themselves."""
    source = c.args[0]
    value = t.value(source)
    results = tensors_of(c.out)
    moved: list[list[Tensor]] = [[] for _ in results]
    for layer in value.layers:
        for position, out in enumerate(_moved(c, layer)):
            moved[position].append(out)
    for out, layers in zip(results, moved, strict=True):
        whole = len(results) == 1 and out.numel() == source.numel()
        t.put(out, layers, value, value.parameter if whole else None)


RULES["_unsafe_view"] = RULES["flip"] = RULES["roll"] = view


def _moved(c: Call, layer: Tensor) -> list[Tensor]:
    if c.name in ("view", "_unsafe_view", "reshape"):
        return [compressed(layer.reshape(c.out.shape))]  # a label layer is not contiguous where the value is
    out = c.func(layer, *c.args[1:], **c.kwargs)
    return [compressed(piece) if c.name in ("flip", "roll") else piece for piece in tensors_of(out)]


@rule("slice", "select", "split_with_sizes", "unbind", "narrow")
def part(t: Trace, c: Call) -> None:
    """A piece of a channel dimension: its own channels, at least one of which must stay."""
    view(t, c)
    for out in tensors_of(c.out):
        if out.numel() != c.args[0].numel():
            for layer in t.value(out).layers:
                t.part(layer)


@rule("split")
def split(t: Trace, c: Call) -> None:
    """Equal pieces are cut from a size known only when running, so that they must stay equal: their labels are tied."""
    part(t, c)
    pieces = [t.value(out).layers for out in c.out if out.shape == c.out[0].shape]
    for layers in pieces[1:]:
        for one, other in zip(pieces[0], layers, strict=True):
            t.ledger.tie(one, other)


@rule("as_strided")
def restride(t: Trace, c: Call) -> None:
    """Reads memory, so it freezes; but for other strides of dimensions of size 1, as pooling channels-last writes."""
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


# Shape changes along some dimensions ---------------------------------------------------------------------------------


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


@rule("constant_pad_nd")
def pad(t: Trace, c: Call) -> None:
    """Padding along a channel dimension writes constant channels, which stay."""
    source, widths = c.args[0], c.args[1]
    value = t.value(source)
    layers = []
    for layer in value.layers:
        for i in range(len(widths) // 2):
            dim = source.dim() - 1 - i
            before, after = widths[2 * i], widths[2 * i + 1]
            if dim not in signature(layer):
                layer = carried(layer, [*layer.shape[:dim], c.out.size(dim), *layer.shape[dim + 1 :]], [dim])
                continue
            if before < 0 or after < 0:
                t.ledger.freeze(layer, f"{c.func} cuts it")
            ends = []
            for width in (before, after):
                labels = t.ledger.fresh(max(width, 0))
                t.ledger.freeze(labels, f"it is padding of {c.func}")
                shape = [*layer.shape[:dim], labels.numel(), *layer.shape[dim + 1 :]]
                ends.append(along(labels, dim, shape))
            middle = layer.narrow(dim, max(-before, 0), layer.size(dim) - max(-before, 0) - max(-after, 0))
            layer = compressed(torch.cat([ends[0], middle, ends[1]], dim))
        layers.append(layer)
    t.put(c.out, layers, value)


@rule(
    "max_pool2d_with_indices",
    "max_pool2d",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "adaptive_avg_pool1d",
    "_adaptive_avg_pool2d",
    "_adaptive_avg_pool3d",
    "adaptive_max_pool2d",
    "max_pool3d_with_indices",
    "upsample_nearest1d",
    "upsample_nearest2d",
    "_upsample_nearest_exact2d",
    "upsample_bilinear2d",
    "_upsample_bilinear2d_aa",
    "upsample_bicubic2d",
)
def resample(t: Trace, c: Call) -> None:
    """Pooling and resizing change positions, not channels."""
    source = c.args[0]
    value = t.value(source)
    outs = tensors_of(c.out)
    positions = 1 if "1d" in c.name else 3 if "3d" in c.name else 2
    touched = list(range(source.dim() - positions, source.dim()))
    t.freeze_except(source, tuple(d for d in range(source.dim()) if d not in touched), f"{c.func} mixes it")
    layers = [carried(x, outs[0].shape, touched) for x in value.layers if not set(signature(x)) & set(touched)]
    for out in outs:
        t.put(out, layers, value)


@rule("mean", "sum", "amax", "amin", "var", "std", "logsumexp", "any", "all", "prod", "argmax", "max", "min")
def reduce(t: Trace, c: Call) -> None:
    """Reducing over positions keeps the channels; reducing over channels needs all of them."""
    source = c.args[0]
    value = t.value(source)
    dims = c.argument(1, "dim")
    if isinstance(dims, Tensor):  # max(a, b) is elementwise
        return pointwise(t, c)
    if isinstance(dims, bool) or dims is None or dims == []:
        dims = list(range(source.dim()))
    touched = sorted(d % source.dim() for d in ([dims] if isinstance(dims, int) else dims)) if source.dim() else []
    t.freeze_except(source, tuple(d for d in range(source.dim()) if d not in touched), f"{c.func} reduces over it")
    for out in tensors_of(c.out):
        layers = []
        for layer in value.layers:
            if not set(signature(layer)) & set(touched):
                for d in reversed(touched):
                    layer = layer.narrow(d, 0, 1) if out.dim() == source.dim() else layer.select(d, 0)
                layers.append(layer)
        t.put(out, layers, value)
    return None


# Normalisation -------------------------------------------------------------------------------------------------------


@rule(
    "native_batch_norm",
    "cudnn_batch_norm",
    "miopen_batch_norm",
    "_native_batch_norm_legit",
    "_native_batch_norm_legit_no_training",
    "_native_batch_norm_legit_functional",
    "_batch_norm_no_update",
    "_batch_norm_with_update",
)
def batch_norm(t: Trace, c: Call) -> None:
    """Per channel: scale, shift and statistics carry the labels of dimension 1."""
    source = c.args[0]
    channels = t.axis(source, 1)
    for tensor in c.args[1:5]:
        if isinstance(tensor, Tensor):
            t.tie_or_freeze(t.axis(tensor, 0), channels, f"it normalises {t.value(source).origin}")
    t.put(tensors_of(c.out)[0], t.value(source).layers, t.value(source))


@rule("_softmax", "_log_softmax")
def softmax(t: Trace, c: Call) -> None:
    """Normalising over channels needs all of them."""
    source = c.args[0]
    dim = c.args[1] % max(source.dim(), 1)
    t.freeze_except(source, tuple(d for d in range(source.dim()) if d != dim), f"{c.func} normalises over it")
    t.put(c.out, [layer for layer in t.value(source).layers if dim not in signature(layer)], t.value(source))


# Products: these read channels and write new ones --------------------------------------------------------------------


def whole_groups(groups: int, per_group: int) -> bool:
    """Many narrow groups: each leaves as a whole. Few wide ones: the same positions leave every group."""
    return groups >= min(8, per_group)


@rule("convolution")
def convolution(t: Trace, c: Call) -> None:
    """Reads dimension 1 of its input and writes dimension 1 of its output."""
    source, weight, bias = c.args[:3]
    transposed, groups = bool(c.args[6]), int(c.args[8])
    name = t.value(weight).parameter
    t.freeze_except(source, (1,), f"{c.func} slides over it")
    t.freeze_except(weight, (0, 1), KERNEL)
    into, out_of = (1, 0) if transposed else (0, 1)  # the weight's dimensions of output and input channels
    written, read, channels = t.axis(weight, into), t.axis(weight, out_of), t.axis(source, 1)
    origin = f"it reads {t.value(source).origin}"
    if name is None or (transposed and groups > 1):
        reason = "its reader's weight is computed" if name is None else "a transposed convolution has groups"
        for labels in (written, read, channels):
            t.ledger.freeze(labels, reason)
    elif groups == 1:
        t.tie_or_freeze(read, channels, origin)
        t.read(read)
    elif written is None or channels is None:
        for labels in (written, read, channels):
            t.ledger.freeze(labels, origin)
    elif whole_groups(groups, weight.size(1)):
        inputs, outputs = channels.view(groups, -1), written.view(groups, -1)
        t.ledger.tie(inputs, inputs[:, :1])
        t.ledger.tie(outputs, outputs[:, :1])
        t.ledger.tie(inputs[:, 0], outputs[:, 0])
        t.ledger.freeze(read, "whole groups leave together")
    else:
        inputs, outputs = channels.view(groups, -1), written.view(groups, -1)
        t.ledger.tie(inputs, inputs[:1])
        t.ledger.tie(outputs, outputs[:1])
        t.tie_or_freeze(inputs[0], read, origin)
        t.read(read)
    if bias is not None and transposed and groups > 1:  # its channels run through all groups, the weight's through one
        t.freeze(bias, "a transposed convolution has groups")
    elif bias is not None:
        t.tie_or_freeze(t.axis(bias, 0), written, "it is the bias of a fixed output")
    grouped_output = transposed and groups > 1  # its labels repeat in every group; frozen above
    t.put(c.out, [] if written is None or grouped_output else [along(written, 1, c.out.shape)])
    positions = math.prod((source if transposed else c.out).shape[2:]) * source.size(0) / t.batch
    t.multiply(name, positions * math.prod(weight.shape[2:]), (weight, into, written), (weight, out_of, read))


@rule("mm", "addmm")
def matrix_product(t: Trace, c: Call) -> None:
    """(n, k) times (k, m): the k side is read, the other two are kept or written."""
    added = c.args[0] if c.name == "addmm" else None
    left, right = c.args[-2:]
    inner_left, inner_right = t.axis(left, 1), t.axis(right, 0)
    outer_left, outer_right = t.axis(left, 0), t.axis(right, 1)
    weights = [(x, labels) for x, labels in ((left, inner_left), (right, inner_right)) if t.value(x).parameter]
    if len(weights) != 1:  # two activations (attention), or a weight computed from others
        for labels in (inner_left, inner_right, outer_left, outer_right):
            t.ledger.freeze(labels, f"{c.func} multiplies two computed values")
    else:
        other = left if weights[0][0] is right else right
        t.tie_or_freeze(inner_left, inner_right, f"it reads {t.value(other).origin}")
        t.read(weights[0][1])
    layers = []
    if outer_left is not None:
        layers.append(along(outer_left, 0, c.out.shape))
    if outer_right is not None:
        layers.append(along(outer_right, 1, c.out.shape))
    if isinstance(added, Tensor):
        t.put(c.out, layers)
        layers = t.meet(c.out.shape, [c.out, added])
    t.put(c.out, layers)
    name = t.value(weights[0][0]).parameter if weights else None
    weight_first = bool(weights) and weights[0][0] is left
    into, rows = (right, 1, outer_right), (left, 0, outer_left)
    into, rows = (rows, into) if weight_first else (into, rows)
    _multiply_rows(t, name, rows, into, (right, 0, inner_right))


def _multiply_rows(t: Trace, name: str | None, rows: Side, outputs: Side, inputs: Side) -> None:
    """Notes a product whose rows may be channels too, where a layer mixes positions (the token mixing of ResMLP)."""
    tensor, dim, labels = rows
    if labels is None:
        t.multiply(name, tensor.size(dim) / t.batch, outputs, inputs)
    elif labels.numel() % t.batch == 0 and bool((labels.view(t.batch, -1) == labels.view(t.batch, -1)[:1]).all()):
        t.multiply(name, 1, (tensor, dim, labels.view(t.batch, -1)[0]), outputs, inputs)  # every example has the same
    else:
        t.multiply(name, 1 / t.batch, rows, outputs, inputs)


@rule("bmm", "baddbmm")
def batched_product(t: Trace, c: Call) -> None:
    """Products of two computed values (attention) are counted but keep their channels."""
    left, right = c.args[-2:]
    for tensor in tensors_of(c.args):
        t.freeze(tensor, f"{c.func} multiplies two computed values")
    t.put(c.out, [])
    t.multiply(None, left.size(0) * left.size(1) / t.batch, (right, 2, None), (right, 1, None))


@rule(
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention",
    "_scaled_dot_product_fused_attention_overrideable",
)
def attention(t: Trace, c: Call) -> None:
    """Fused attention is counted but keeps its channels."""
    query, key, value = c.args[:3]
    for tensor in (query, key, value):
        t.freeze(tensor, f"{c.func} multiplies two computed values")
    t.put(c.out[0], [])
    pairs = math.prod(query.shape[:-1]) / t.batch
    t.multiply(None, pairs, (key, -2, None), (key, -1, None))
    t.multiply(None, pairs, (value, -2, None), (value, -1, None))
