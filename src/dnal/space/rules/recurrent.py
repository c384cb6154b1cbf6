"""Recurrent layers and cells, whole: cuDNN and oneDNN run them as one operation, others step by step, and a Space must
not depend on the device.

A hidden channel is one row of each of the gates' blocks of rows, one column of what reads the hidden state (the next
step and the next layer), and one element of every state. A layer of torch has one hidden size for all its depths and
directions: the channels of equal number leave together.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dnal.space.labels import along, carried
from dnal.space.rules.pointwise import fresh
from dnal.space.rules.registry import rule
from dnal.space.surgery.tensors import tensors_of
from dnal.space.trace import Call, Trace


@rule("torch.lstm", "torch.gru", "torch.rnn_tanh", "torch.rnn_relu")
def layers(t: Trace, c: Call) -> None:
    """All depths and directions of a layer, over padded or packed sequences."""
    packed = isinstance(c.args[3], (list, tuple))  # the sizes of its batches come second
    states, weights, biased, depths, _, _, both_ways = c.args[1 + packed : 8 + packed]
    directions = 2 if both_ways else 1
    each = len(weights) // (depths * directions)
    hidden, shown = _channels(t, weights[:each], biased)
    read, both = _of_input(t, c), torch.cat([shown] * directions)
    for depth in range(depths):
        for direction in range(directions):
            first = (depth * directions + direction) * each
            _step(t, c, weights[first : first + each], biased, both if depth else read, hidden, shown)
    given = tensors_of(states)
    for state, labels in zip(given, (shown, hidden)[: len(given)], strict=True):
        _starts_with(t, c, state, labels)
    out, *last = c.out
    t.put(out, [along(both, out.dim() - 1, out.shape)])
    for state, labels in zip(last, (shown, hidden)[: len(last)], strict=True):
        t.put(state, [along(labels, state.dim() - 1, state.shape)])


@rule("torch.lstm_cell", "torch.gru_cell", "torch.rnn_tanh_cell", "torch.rnn_relu_cell")
def cell(t: Trace, c: Call) -> None:
    """One step."""
    weights = tensors_of(c.args[2:])
    hidden, _ = _channels(t, weights[:2], False)
    _step(t, c, weights, len(weights) > 2, _of_input(t, c), hidden, hidden)
    for state in tensors_of(c.args[1]):
        _starts_with(t, c, state, hidden)
    for state in tensors_of(c.out):
        t.put(state, [along(hidden, state.dim() - 1, state.shape)])


def _channels(t: Trace, weights: Sequence[Tensor], biased: bool) -> tuple[Tensor, Tensor]:
    """Labels of the hidden channels and of those that are shown to the outside, which a projection makes.

    torch wants less projected channels than hidden ones, and takes equal numbers for no projection. So each projected
    channel leaves with the hidden one of its number, and one of the other hidden channels stays.
    """
    readers = weights[1], weights[-1] if len(weights) > 2 + 2 * biased else weights[1]
    found = []
    for weight in readers:
        labels = t.axis(weight, 1)
        if labels is None:
            labels = t.ledger.fresh(weight.size(1))
            t.ledger.freeze(labels, "its layer computes its weight")
        found.append(labels)
    shown, hidden = found
    t.ledger.tie(shown, hidden[: shown.numel()])
    return hidden, shown


def _of_input(t: Trace, c: Call) -> Tensor | None:
    source = c.args[0]
    t.settled_except(source, (source.dim() - 1,), f"{c.name} runs along it")
    return t.axis(source, source.dim() - 1)


def _starts_with(t: Trace, c: Call, state: Tensor, labels: Tensor) -> None:
    """A state that the network is given, or that has a size of its own, keeps the channels."""
    t.settled_except(state, (state.dim() - 1,), f"{c.name} starts with it")
    t.tie_or_freeze(labels, t.axis(state, state.dim() - 1), f"its state starts with {t.value(state).origin}")


def _step(
    t: Trace, c: Call, weights: Sequence[Tensor], biased: bool, read: Tensor | None, hidden: Tensor, shown: Tensor
) -> None:
    """One direction of one depth: the weights of its inputs and of its state, biases, a projection.

    At every step each matrix is multiplied once; the steps of packed sequences are the rows that there are.
    """
    source = c.args[0]
    steps = source.numel() / source.size(-1) / t.batch
    of_input, of_state, *rest = weights
    blocks = hidden.repeat(of_input.size(0) // hidden.numel())
    products = [(of_input, blocks, read), (of_state, blocks, shown)]
    if len(rest) > 2 * biased:
        products.append((rest[-1], shown, hidden))
    for weight, rows, columns in products:
        name = t.value(weight).parameter
        why = f"it reads {t.value(source).origin}" if name else "its layer computes its weight"
        written, reader = t.axis(weight, 0), t.axis(weight, 1)
        t.tie_or_freeze(written, rows, why)
        t.tie_or_freeze(reader, columns, why)
        if name is None:
            for labels in (written, reader, rows, columns):
                t.ledger.freeze(labels, why)
        t.read(reader)
        t.multiply(name, steps, (weight, 0, written), (weight, 1, reader))
    for bias in rest[: 2 * biased]:
        t.tie_or_freeze(t.axis(bias, 0), blocks, "it is the bias of a fixed output")


@rule("mkldnn_rnn_layer", "_cudnn_rnn", "miopen_rnn")
def fused(t: Trace, c: Call) -> None:
    """What the layers above are on some devices: known are the widths of what it makes."""
    source = c.args[0]
    for tensor in tensors_of((c.args, c.kwargs)):
        t.freeze(tensor, f"{c.func} takes all of it")
    if c.name == "mkldnn_rnn_layer":
        weights, labels = c.args[1:3], t.axis(c.args[2], 1)
        for out in c.out[:3]:
            t.put(out, [] if labels is None else [along(labels, out.dim() - 1, out.shape)])
        for workspace in tensors_of(c.out[3:]):  # without gradients there is none
            t.put(workspace, [])
    else:
        weights = c.args[1]
        for out in tensors_of(c.out):
            if not any(out is weight for weight in weights):
                t.put(out, [])
    steps = source.numel() // source.size(-1)
    for weight in weights:
        if weight.dim() == 2:
            t.multiply(t.value(weight).parameter, steps / t.batch, (weight, 0, None), (weight, 1, None))


@rule("_pack_padded_sequence")
def packed(t: Trace, c: Call) -> None:
    """(N, L, *) or (L, N, *) to (rows, *): the channels of a row are those of its place."""
    data, sizes = c.out
    layers = t.settled(c.args[0], (0, 1), "positions are packed")
    t.put(data, [layer.select(0, 0).narrow(0, 0, 1).expand(data.shape) for layer in layers], t.value(c.args[0]))
    t.put(sizes, [])


@rule("torch._pad_packed_sequence")
def padded(t: Trace, c: Call) -> None:
    """The way back."""
    out, lengths = c.out
    layers = t.settled(c.args[0], (0,), "positions are packed")
    t.put(out, [carried(layer.unsqueeze(0), out.shape, (0, 1)) for layer in layers], t.value(c.args[0]))
    t.put(lengths, [])


@rule("zeros")
def initial_state(t: Trace, c: Call) -> None:
    """Zeros of which a size is a number of channels, as states start with them: they have the channels of whatever they
    meet there. Dimension 0 counts examples, or depths. oneDNN makes zeros as large as the weights for biases that are
    not there."""
    if t.within:
        like = {id(x): x for x in t.within if x.shape == c.out.shape}
        return t.put(c.out, t.value(next(iter(like.values()))).layers if len(like) == 1 else [])
    dims = range(1, c.out.dim()) if c.out.is_floating_point() else ()
    return t.put(
        c.out, [along(t.ledger.fresh(c.out.size(d)), d, c.out.shape) for d in dims if c.out.size(d) in t.widths]
    )


@rule("new_zeros")
def as_of_another(t: Trace, c: Call) -> None:
    """The same, where none of its sizes is one of the tensor that it is like."""
    fresh(t, c)
    if not t.value(c.out).layers:
        initial_state(t, c)
