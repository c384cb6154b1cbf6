"""Normalisation: what is normalised over stays whole."""

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
    """Normalises over its last dimensions, which stay; the others pass.

    What would make a residual stream through layer norms removable: a layer that remembers the original width C and
    computes mean = sum(x) / C and variance = sum(x^2) / C - mean^2. Closed channels are zero wherever the stream is
    written, add nothing to either sum, and the scale and shift of the layer are zero for them; so that layer would
    compute from the channels that are left what the original computes with zeros. torch's own divides by the channels
    it is given, which is another function; and a compact network consists of the classes of the original, so that it
    stays one that anybody can load. The same holds for global response normalisation (ConvNeXt V2), whose mean of the
    channels' norms would have to be sum / C. Who accepts another function (the retraining may make up for it) can
    replace the layers by such ones or by batch norms before the Space is made.
    """
    source = c.args[0]
    normalised = range(source.dim() - len(c.args[1]), source.dim())
    t.settled(source, normalised, f"{c.func} normalises over it")
    for tensor in c.args[2:4]:
        if isinstance(tensor, Tensor):
            t.freeze(tensor, f"{c.func} normalises over it")
    t.put(tensors_of(c.out)[0], t.value(source).layers, t.value(source))


@rule("native_group_norm")
def group_norm(t: Trace, c: Call) -> None:
    """Normalises over the channels of each group: whole groups leave. One group leaves nothing."""
    source, groups = c.args[0], int(c.args[6])
    reason = f"{c.func} normalises over it"
    affine = [t.axis(tensor, 0) for tensor in c.args[1:3] if isinstance(tensor, Tensor)]
    t.settled_except(source, (1,), reason)
    channels = t.axis(source, 1)
    if groups == 1 and source.size(1) > 1:
        for labels in (*affine, channels):
            t.ledger.freeze(labels, reason)
    elif channels is not None:
        t.ledger.tie(channels.view(groups, -1), channels.view(groups, -1)[:, :1])
        if isinstance(t.module, nn.GroupNorm) and not affine:  # no weight of it will tell how many are left
            t.remember(SizeRule(t.path, Attribute("num_groups", -1), channels.view(groups, -1)))
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
