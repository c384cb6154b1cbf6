"""Operations along positions: padding, pooling, resizing, reductions."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from dnal.space.labels import along, carried, compressed, signature
from dnal.space.rules.pointwise import pointwise
from dnal.space.rules.registry import rule
from dnal.space.surgery.tensors import tensors_of
from dnal.space.trace import Call, Trace


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
    "adaptive_max_pool3d",
    "max_pool3d_with_indices",
    "upsample_nearest1d",
    "upsample_nearest2d",
    "upsample_nearest3d",
    "_upsample_nearest_exact1d",
    "_upsample_nearest_exact2d",
    "upsample_linear1d",
    "upsample_bilinear2d",
    "_upsample_bilinear2d_aa",
    "upsample_bicubic2d",
    "_upsample_bicubic2d_aa",
    "upsample_trilinear3d",
    "reflection_pad1d",
    "reflection_pad2d",
    "reflection_pad3d",
    "replication_pad1d",
    "replication_pad2d",
    "replication_pad3d",
    "grid_sampler_2d",
    "grid_sampler_3d",
)
def resample(t: Trace, c: Call) -> None:
    """Pooling, resizing and padding with other positions change positions, not channels."""
    source = c.args[0]
    outs = tensors_of(c.out)
    positions = 1 if "1d" in c.name else 3 if "3d" in c.name else 2
    touched = list(range(source.dim() - positions, source.dim()))
    layers = [carried(x, outs[0].shape, touched) for x in t.settled(source, touched, f"{c.func} mixes it")]
    for other in tensors_of(c.args[1:]):
        t.freeze(other, f"{c.func} looks positions up by it")
    for out in outs:
        t.put(out, layers, t.value(source))


REDUCTIONS = {"linalg_vector_norm": 2, "norm": 2}
"""The position of the dimensions among the arguments where it is not 1."""

AVERAGES = {"mean", "var", "var_mean", "std", "std_mean"}
"""What divides by the number of channels: without some of them it is another number even where these are zero."""

SPARING = {"sum", "amax", "linalg_vector_norm", "norm"}
"""What channels of zeros add nothing to (to the largest: where none is below zero, as behind a ReLU, by the probe)."""


@rule(
    "mean",
    "sum",
    "amax",
    "amin",
    "var",
    "var_mean",
    "std",
    "std_mean",
    "logsumexp",
    "any",
    "all",
    "prod",
    "argmax",
    "max",
    "min",
    "linalg_vector_norm",
    "norm",
)
def reduce(t: Trace, c: Call) -> None:
    """Reducing over positions keeps the channels; reducing over channels reads them, and mostly needs all.

    A mean, as global response normalisation (ConvNeXt V2) is written with, runs over the open ones where norms are
    open.
    """
    source = c.args[0]
    dims = c.argument(REDUCTIONS.get(c.name, 1), "dim")
    if isinstance(dims, Tensor):  # max(a, b) is elementwise
        return pointwise(t, c)
    if isinstance(dims, bool) or dims is None or dims == []:
        dims = list(range(source.dim()))
    touched = sorted(d % source.dim() for d in ([dims] if isinstance(dims, int) else dims)) if source.dim() else []
    debts: list[tuple[Tensor, str]] = []
    averages = "averages over it, as global response normalisation does"
    reason = f"{c.func} {averages if c.name in AVERAGES else 'reduces over it'}"
    settled = t.settled(source, touched, reason, debts)
    if c.name in AVERAGES and debts and t.over_open(source, touched) is not None:
        debts = []
    for out in tensors_of(c.out):
        layers = []
        for layer in settled:
            for d in reversed(touched):
                layer = layer.narrow(d, 0, 1) if out.dim() == source.dim() else layer.select(d, 0)
            layers.append(layer)
        t.put(out, layers, t.value(source))
        if c.name in SPARING:
            t.owe(out, [partial(t.contract, labels) for labels, _ in debts])
        else:  # the mean attention of the heads is often computed and thrown away
            t.owe(out, [partial(t.ledger.freeze, *debt) for debt in debts])
    return None


@rule("cumsum", "cumprod", "logcumsumexp")
def cumulate(t: Trace, c: Call) -> None:
    """Along positions the channels pass; along channels it needs all of them."""
    source = c.args[0]
    t.put(c.out, t.settled(source, (c.argument(1, "dim"),), f"{c.func} runs along it"), t.value(source))


@rule("topk")
def largest(t: Trace, c: Call) -> None:
    """The largest positions of every channel; of channels it needs all of them."""
    source = c.args[0]
    dim = c.argument(2, "dim", -1) % source.dim()
    layers = [carried(x, c.out[0].shape, [dim]) for x in t.settled(source, (dim,), f"{c.func} picks from it")]
    for out in c.out:
        t.put(out, layers, t.value(source))


@rule("im2col")
def unfold(t: Trace, c: Call) -> None:
    """Every channel becomes one column for each position of the kernel."""
    source = c.args[0]
    t.settled_except(source, (1,), f"{c.func} slides over it")
    channels = t.axis(source, 1)
    kernel = c.out.size(1) // source.size(1)
    t.put(c.out, [] if channels is None else [along(channels.repeat_interleave(kernel), 1, c.out.shape)])


@rule("col2im")
def fold(t: Trace, c: Call) -> None:
    """The columns of a channel leave together."""
    source = c.args[0]
    t.settled_except(source, (1,), f"{c.func} slides over it")
    columns = t.axis(source, 1)
    if columns is None:
        return t.put(c.out, [])
    per_channel = columns.view(c.out.size(1), -1)
    t.ledger.tie(per_channel, per_channel[:, :1])
    return t.put(c.out, [along(per_channel[:, 0], 1, c.out.shape)])
