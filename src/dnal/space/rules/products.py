"""Products: these read channels and write new ones."""

from __future__ import annotations

import math

from torch import Tensor

from dnal.space.labels import along, signature
from dnal.space.rules.registry import rule
from dnal.space.trace import KERNEL, Call, Side, Trace


def whole_groups(groups: int, per_group: int) -> bool:
    """Many narrow groups: each leaves as a whole. Few wide ones: the same positions leave every group."""
    return groups >= min(8, per_group)


@rule("convolution")
def convolution(t: Trace, c: Call) -> None:
    """Reads dimension 1 of its input and writes dimension 1 of its output."""
    source, weight, bias = c.args[:3]
    transposed, groups = bool(c.args[6]), int(c.args[8])
    name = t.value(weight).parameter
    t.settled_except(source, (1,), f"{c.func} slides over it")
    for layer in t.value(weight).layers:
        if set(signature(layer)) - {0, 1}:
            t.ledger.freeze(layer, KERNEL)
    into, out_of = (1, 0) if transposed else (0, 1)  # the weight's dimensions of output and input channels
    written, read, channels = t.axis(weight, into), t.axis(weight, out_of), t.axis(source, 1)
    origin = f"it reads {t.value(source).origin}"
    if name is not None and transposed and whole_groups(groups, weight.size(0) // groups) and groups > 1:
        _transposed_groups(t, c)
        return
    if name is None or (transposed and groups > 1):
        reason = "its reader computes its weight" if name is None else "a transposed convolution has groups"
        for labels in (written, read, channels):
            t.ledger.freeze(labels, reason)
    else:
        _grouped(t, weight, groups, written, read, channels, origin)
    if bias is not None and transposed and groups > 1:  # its channels run through all groups, the weight's through one
        t.freeze(bias, "a transposed convolution has groups")
    elif bias is not None:
        t.tie_or_freeze(t.axis(bias, 0), written, "it is the bias of a fixed output")
    grouped_output = transposed and groups > 1  # its labels repeat in every group; frozen above
    t.put(c.out, [] if written is None or grouped_output else [along(written, 1, c.out.shape)])
    positions = math.prod((source if transposed else c.out).shape[2:]) * source.size(0) / t.batch
    t.multiply(name, positions * math.prod(weight.shape[2:]), (weight, into, written), (weight, out_of, read))


def _grouped(
    t: Trace,
    weight: Tensor,
    groups: int,
    written: Tensor | None,
    read: Tensor | None,
    channels: Tensor | None,
    origin: str,
) -> None:
    """What a convolution with groups does to the channels that it reads and writes."""
    if groups == 1:
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


@rule("deform_conv2d")
def deformed_convolution(t: Trace, c: Call) -> None:
    """torchvision's convolution at places that are computed. As resizing is not, taking values between pixels is not
    counted. The channels of a group of offsets are shifted alike: as many leave every such group."""
    source, weight, offset, mask, bias = c.args[:5]
    groups, offset_groups, masked = c.args[11:14]
    t.settled_except(source, (1,), f"{c.func} slides over it")
    for tensor in (offset, *([mask] if masked else [])):
        t.freeze(tensor, f"{c.func} takes a value from it for every place of its kernel")
    for layer in t.value(weight).layers:
        if set(signature(layer)) - {0, 1}:
            t.ledger.freeze(layer, KERNEL)
    written, read, channels = t.axis(weight, 0), t.axis(weight, 1), t.axis(source, 1)
    name = t.value(weight).parameter
    if name is None:
        for labels in (written, read, channels):
            t.ledger.freeze(labels, "its reader computes its weight")
    else:
        _grouped(t, weight, groups, written, read, channels, f"it reads {t.value(source).origin}")
    if channels is not None and offset_groups > 1:
        t.ledger.tie(channels.view(offset_groups, -1), channels.view(offset_groups, -1)[:1])
    if t.value(bias).parameter:
        t.tie_or_freeze(t.axis(bias, 0), written, "it is the bias of a fixed output")
    t.put(c.out, [] if written is None else [along(written, 1, c.out.shape)])
    positions = c.out.size(0) * math.prod(c.out.shape[2:]) / t.batch
    t.multiply(name, positions * math.prod(weight.shape[2:]), (weight, 0, written), (weight, 1, read))


def _transposed_groups(t: Trace, c: Call) -> None:
    """Narrow groups of a transposed convolution, whose weight has the input channels of all groups in dimension 0 and
    the output channels of one in dimension 1: each leaves as a whole."""
    source, weight, bias = c.args[:3]
    groups = int(c.args[8])
    read, channels, inside = t.axis(weight, 0), t.axis(source, 1), t.axis(weight, 1)
    t.ledger.freeze(inside, "whole groups leave together")
    if read is None or channels is None:
        for labels in (read, channels):
            t.ledger.freeze(labels, f"it reads {t.value(source).origin}")
    else:
        t.ledger.tie(channels, read)
        t.ledger.tie(read.view(groups, -1), read.view(groups, -1)[:, :1])
    written = None if read is None else read.view(groups, -1)[:, 0].repeat_interleave(weight.size(1))
    if bias is not None:
        t.tie_or_freeze(t.axis(bias, 0), written, "it is the bias of a fixed output")
    t.put(c.out, [] if written is None else [along(written, 1, c.out.shape)])
    factor = math.prod(source.shape[2:]) * source.size(0) / t.batch * math.prod(weight.shape[2:])
    t.multiply(t.value(weight).parameter, factor, (weight, 0, read), (weight, 1, inside))


@rule("mm", "addmm")
def matrix_product(t: Trace, c: Call) -> None:
    """(n, k) times (k, m): the k side is read, the other two are kept or written."""
    added = c.args[0] if c.name == "addmm" else None
    left, right = c.args[-2:]
    inner_left, inner_right = t.axis(left, 1), t.axis(right, 0)
    outer_left, outer_right = t.axis(left, 0), t.axis(right, 1)
    weights = [(x, labels) for x, labels in ((left, inner_left), (right, inner_right)) if t.value(x).parameter]
    other = left if weights and weights[0][0] is right else right
    t.tie_or_freeze(inner_left, inner_right, f"it reads {t.value(other).origin}")
    if len(weights) == 1:
        t.read(weights[0][1])
    elif inner_left is not None:  # two activations (attention), or a weight computed from others
        t.contract(inner_left)
    layers = []
    if outer_left is not None:
        layers.append(along(outer_left, 0, c.out.shape))
    if outer_right is not None:
        layers.append(along(outer_right, 1, c.out.shape))
    if isinstance(added, Tensor):
        t.put(c.out, layers)
        layers = t.meet(c.out.shape, [c.out, added])
    t.put(c.out, layers)
    name = t.value(weights[0][0]).parameter if len(weights) == 1 else None
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


ALIGNED = 8
"""Numbers of half precision in 16 bytes."""


@rule("_grouped_mm", "grouped_mm_fallback")
def experts(t: Trace, c: Call) -> None:
    """Rows (n, k), each times the matrix of its expert of (experts, k, m): a mixture of experts. All experts have the
    same channels, and all stay. The kernel wants rows of a multiple of 16 bytes, also in half precision: neighbours
    leave by the eight."""
    rows, weights = c.args[:2]
    if rows.dim() != 2 or weights.dim() != 3:
        raise NotImplementedError("a product of other shapes, as in a backward pass")
    t.ledger.freeze(t.axis(weights, 0), f"{c.func} looks experts up by number")
    t.settled_except(rows, (1,), f"{c.func} sorts it by expert")
    inner, read, written = t.axis(rows, 1), t.axis(weights, 1), t.axis(weights, 2)
    for labels in (read, written):
        if labels is not None:
            blocks = labels.view(-1, math.gcd(labels.numel(), ALIGNED))
            t.ledger.tie(blocks, blocks[:, :1])
    t.tie_or_freeze(inner, read, f"it reads {t.value(rows).origin}")
    name = t.value(weights).parameter
    if name is not None:
        t.read(read)
    elif read is not None:
        t.contract(read)
    for given in c.args[2:]:
        if isinstance(given, Tensor):
            t.freeze(given, f"{c.func} takes all of it")
    t.put(c.out, [] if written is None else [along(written, 1, c.out.shape)])
    t.multiply(name, rows.size(0) / t.batch, (weights, 2, written), (weights, 1, read))
