"""A network as a graph: its neurons or channels are nodes, with their biases, and its weights are edges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dnal.base.errors import UserError
from dnal.predictors.weights.chain import ACTIVATIONS, Array, Chain, scaled
from dnal.predictors.weights.of_weights import Known

Numbers = NDArray[np.int64]
KINDS = ("none", *ACTIVATIONS)
"""Of neurons, by what follows their layer; that of inputs is "none"."""


@dataclass(frozen=True, eq=False)
class Neurons:
    """A network as arrays.

    Attributes:
        network: as it is. bias: (V,), 0 of inputs. position: (V,) each input and output has one of its own, and all
            neurons of a hidden layer share one. kind: (V,) of ``KINDS``. channels: neurons of each layer.
        source, target: (E,) the neurons that a weight joins. weight: (E, K) its kernel.
    """

    network: Chain
    bias: Array
    position: Numbers
    kind: Numbers
    channels: tuple[int, ...]
    source: Numbers
    target: Numbers
    weight: Array


def neurons_of(network: Chain, known: Known) -> Neurons:
    """A network as a graph.

    A kernel stands in the middle of the largest one there was; a linear layer is a kernel of one position, and one that
    reads a map has the positions of that. Hidden layers deeper than all there were have the position of the last one.

    Raises:
        UserError: more inputs, other outputs, or larger kernels than those learnt from.
    """
    channels = network.channels
    if channels[0] > known.inputs or channels[-1] != known.outputs:
        raise UserError(
            f"a network has {channels[0]} inputs and {channels[-1]} outputs; those learnt from have at most "
            f"{known.inputs}, and {known.outputs}."
        )
    own = scaled(network, known.weight, known.bias)
    starts = np.concatenate([[0], np.cumsum(channels)])
    position = np.empty(starts[-1], np.int64)
    position[: channels[0]] = np.arange(channels[0])
    for at in range(1, len(channels) - 1):
        position[starts[at] : starts[at + 1]] = known.inputs + known.outputs + min(at, known.hidden) - 1
    position[starts[-2] :] = known.inputs + np.arange(known.outputs)
    kinds = [KINDS.index(layer.activation) for layer in own.layers]
    kind = np.repeat([0, *kinds], channels)
    bias = np.concatenate([np.zeros(channels[0], np.float32), *(layer.bias for layer in own.layers)])
    parts = [_edges(own, at, starts, known) for at in range(len(own.layers))]
    source, target, weight = (np.concatenate([part[which] for part in parts]) for which in range(3))
    return Neurons(network, bias, position, kind, channels, source, target, weight)


def _edges(network: Chain, place: int, starts: Numbers, known: Known) -> tuple[Numbers, Numbers, Array]:
    kernel = network.kernel(place)
    out, before, positions = kernel.shape
    found = np.zeros((out, before, known.positions), np.float32)
    layer = network.layers[place]
    height, width = layer.weight.shape[2:] if layer.convolves else (1, 1)
    if height > known.height or width > known.width or positions > known.positions:
        raise UserError(
            f"a layer has kernels of {positions} positions; those learnt from have at most {known.height} x "
            f"{known.width}, and maps of {known.positions}."
        )
    if layer.convolves or positions == 1:
        top, left = (known.height - height) // 2, (known.width - width) // 2
        rows = (top + np.arange(height))[:, None] * known.width + left + np.arange(width)
        found[:, :, rows.ravel()] = kernel
    else:
        found[:, :, :positions] = kernel
    source, target = np.meshgrid(starts[place] + np.arange(before), starts[place + 1] + np.arange(out))
    return source.ravel(), target.ravel(), found.reshape(-1, known.positions)


class Graphs(NamedTuple):
    """Networks as one graph, whose neurons and weights stand after one another.

    Attributes:
        bias, position, kind: (V,). graph: (V,) which network a neuron is of. place: (V,) its place in it.
        source, target: (E,). weight: (E, K). outputs: (B, outputs) the neurons that answer.
        networks: as they are. layer: (V,) its layer, 0 for inputs.
    """

    bias: Tensor
    position: Tensor
    kind: Tensor
    graph: Tensor
    place: Tensor
    source: Tensor
    target: Tensor
    weight: Tensor
    outputs: Tensor
    networks: list[Chain]
    layer: Tensor


def together(neurons: Sequence[Neurons]) -> Graphs:
    """Networks, at least one, as one graph."""
    sizes = [len(each.bias) for each in neurons]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    ends = [np.arange(end - each.channels[-1], end) for each, end in zip(neurons, starts[1:], strict=True)]

    def joined(name: str) -> Tensor:
        return torch.from_numpy(np.concatenate([getattr(each, name) for each in neurons]))

    def shifted(name: str) -> Tensor:
        parts = [getattr(each, name) + start for each, start in zip(neurons, starts, strict=False)]
        return torch.from_numpy(np.concatenate(parts))

    layers = [np.repeat(np.arange(len(each.channels)), each.channels) for each in neurons]
    return Graphs(
        joined("bias"), joined("position"), joined("kind"), torch.from_numpy(np.repeat(np.arange(len(sizes)), sizes)),
        torch.from_numpy(np.concatenate([np.arange(size) for size in sizes])), shifted("source"), shifted("target"),
        joined("weight"), torch.from_numpy(np.stack(ends)), [each.network for each in neurons],
        torch.from_numpy(np.concatenate(layers)),
    )  # fmt: skip
