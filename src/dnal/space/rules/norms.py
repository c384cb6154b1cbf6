"""Normalisation: what is normalised over stays whole, or the norm runs over what is open of it."""

from __future__ import annotations

from torch import Tensor, nn

from dnal.space.labels import along, signature
from dnal.space.rules.registry import rule
from dnal.space.surgery.sizes import Attribute, SizeRule
from dnal.space.surgery.tensors import tensors_of
from dnal.space.trace import Call, Trace


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
    source, value = c.args[0], t.value(c.args[0])
    layers = value.layers
    training = c.name == "_batch_norm_with_update" or any(flag is True for flag in c.args[3:6])
    if training:
        layers = t.settled_except(source, (1,), f"{c.func} normalises over it")
    channels = t.axis(source, 1)
    for tensor in c.args[1:5]:
        if isinstance(tensor, Tensor):
            t.tie_or_freeze(t.axis(tensor, 0), channels, f"it normalises {value.origin}")
    t.put(tensors_of(c.out)[0], layers, value)


@rule("native_layer_norm", "_fused_rms_norm")
def layer_norm(t: Trace, c: Call) -> None:
    """Normalises over its last dimensions. With fixed norms these stay, since torch divides by the channels that it is
    given: of fewer channels it computes another function. With open ones the function is that of the open channels
    from the beginning, its scale and shift are theirs, and they may leave. The other dimensions pass.
    """
    source, reason = c.args[0], f"{c.func} normalises over it"
    first = source.dim() - len(c.args[1])
    opened = t.over_open(source, range(first, source.dim()))
    layers = t.settled(source, range(first, source.dim()), reason, None if opened is None else [])
    affine = [tensor for tensor in c.args[2:4] if isinstance(tensor, Tensor)]
    if opened is None:
        layers = t.value(source).layers
        for tensor in affine:
            t.freeze(tensor, reason)
    else:
        alone = [x for x in t.value(source).layers if signature(x) and min(signature(x)) >= first]
        layers, dim = [*layers, *alone], signature(alone[0])[0]
        for tensor in affine:
            t.settled_except(tensor, (dim - first,), reason)
            t.tie_or_freeze(t.axis(tensor, dim - first), opened, f"it normalises {t.value(source).origin}")
    t.put(tensors_of(c.out)[0], layers, t.value(source))


@rule("native_group_norm")
def group_norm(t: Trace, c: Call) -> None:
    """Normalises over the channels of each group: whole groups leave. One group leaves nothing with fixed norms; with
    open ones any of its channels may."""
    source, groups = c.args[0], int(c.args[6])
    reason = f"{c.func} normalises over it"
    affine = [t.axis(tensor, 0) for tensor in c.args[1:3] if isinstance(tensor, Tensor)]
    t.settled_except(source, (1,), reason)
    channels = t.axis(source, 1)
    if groups == 1 and source.size(1) > 1 and t.over_open(source, (1,)) is None:
        for labels in (*affine, channels):
            t.ledger.freeze(labels, reason)
    elif channels is not None:
        per_group = channels.view(groups, -1)
        if groups > 1:
            t.ledger.tie(per_group, per_group[:, :1])
        if isinstance(t.module, nn.GroupNorm) and not affine:  # no weight of it will tell how many are left
            t.remember(SizeRule(t.path, Attribute("num_groups", -1), per_group))
            t.remember(SizeRule(t.path, Attribute("num_channels", -1), channels.view(-1, 1)))
    for labels in affine:
        t.tie_or_freeze(labels, channels, f"it normalises {t.value(source).origin}")
    t.put(tensors_of(c.out)[0], t.value(source).layers, t.value(source))


@rule("_softmax", "_log_softmax", "_safe_softmax")
def softmax(t: Trace, c: Call) -> None:
    """Normalising over channels needs all of them."""
    source = c.args[0]
    t.settled(source, (c.args[1],), f"{c.func} normalises over it")
    t.put(c.out, t.value(source).layers, t.value(source))


@rule("torch._weight_norm")
def weight_norm(t: Trace, c: Call) -> None:
    """A weight computed as g v / |v|, whose norm runs over all dimensions except for one. Zeros add nothing to a norm:
    the channels of v are those of the weight. Along the one dimension those of g stand for them: a direction of zeros
    would be none."""
    direction, length = c.args[:2]
    value, dim = t.value(direction), c.argument(2, "dim", 0)
    layers = list(value.layers)
    if dim != -1:
        dim %= direction.dim()
        lengths, own = t.axis(length, dim), t.axis(direction, dim)
        t.tie_or_freeze(own, lengths, "it has a length of fixed size")
        names = value.parameter, t.value(length).parameter
        if lengths is not None and own is not None and names[0] is not None and names[1] is not None:
            layers = [layer for layer in layers if dim not in signature(layer)]
            layers.append(along(lengths, dim, direction.shape))
            t.lengths[names[0], dim] = names[1], dim
    t.put(c.out, layers, value, value.parameter)
