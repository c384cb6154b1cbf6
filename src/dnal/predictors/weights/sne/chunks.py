"""A network as chunks: the weights that a neuron reads and its bias, cut into pieces of equal length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dnal.base.errors import UserError
from dnal.predictors.weights.chain import Array, Chain

Numbers = NDArray[np.int64]
LINEAR, CONVOLUTION = 0, 1
MOST_CHUNKS = 2**12
"""Of a layer, all of which attend to each other."""


@dataclass(frozen=True, eq=False)
class Chunked:
    """A network as chunks.

    Attributes:
        network: of which they are. values: (Q, size), 0 behind the last. lengths: (Q,). layer: (Q,) of which layer,
            from 0. place: (Q,) which piece of its neuron. kinds: (L,) of each layer, ``LINEAR`` or ``CONVOLUTION``.
    """

    network: Chain
    values: Array
    lengths: Numbers
    layer: Numbers
    place: Numbers
    kinds: Numbers


def longest(network: Chain) -> int:
    """The most numbers that a neuron has: its weights and its bias. Where that is no more than the size of a chunk, no
    order of hidden neurons changes which numbers are together."""
    return max(int(layer.weight[0].size) for layer in network.layers) + 1


def chunked(network: Chain, size: int) -> Chunked:
    """A network cut into chunks of so many numbers, each of one neuron; its bias comes last.

    Raises:
        UserError: a layer of more than 4,096 chunks.
    """
    values, lengths, layers, places = [], [], [], []
    for at, layer in enumerate(network.layers):
        rows = np.concatenate([layer.weight.reshape(len(layer.bias), -1), layer.bias[:, None]], 1)
        pieces = -(-rows.shape[1] // size)
        number = len(rows) * pieces
        if number > MOST_CHUNKS:
            raise UserError(
                f"layer {at} of a network is {number:,} chunks; give chunk={size * -(-number // MOST_CHUNKS)}."
            )
        filled = np.zeros((len(rows), pieces * size), np.float32)
        filled[:, : rows.shape[1]] = rows
        values.append(filled.reshape(number, size))
        left = np.minimum(size, rows.shape[1] - size * np.arange(pieces))
        lengths.append(np.tile(left, len(rows)))
        layers.append(np.full(number, at))
        places.append(np.tile(np.arange(pieces), len(rows)))
    kinds = np.array([CONVOLUTION if layer.convolves else LINEAR for layer in network.layers])
    of_values, of_lengths, of_layers, of_places = (np.concatenate(each) for each in (values, lengths, layers, places))
    return Chunked(network, of_values, of_lengths, of_layers, of_places, kinds)


class Chunks(NamedTuple):
    """The chunks of networks after one another.

    Attributes:
        values: (Q, size). lengths: (Q,). owner: (Q,) which of all layers, and within: (Q,) its place in it.
        place: (Q,) which piece of its neuron. level, kind, network: (L,) of each layer, which it is, its kind and its
            network. depth: (B,) how many layers a network has.
    """

    values: Tensor
    lengths: Tensor
    owner: Tensor
    within: Tensor
    place: Tensor
    level: Tensor
    kind: Tensor
    network: Tensor
    depth: Tensor


def together(networks: Sequence[Chunked]) -> Chunks:
    """Networks, at least one, as one batch."""
    depths = np.array([len(each.kinds) for each in networks])
    starts = np.concatenate([[0], np.cumsum(depths)])
    owner = np.concatenate([each.layer + start for each, start in zip(networks, starts, strict=False)])
    sizes = np.bincount(owner, minlength=int(starts[-1]))
    within = np.concatenate([np.arange(size) for size in sizes])
    arrays = (
        np.concatenate([each.values for each in networks]), np.concatenate([each.lengths for each in networks]), owner,
        within, np.concatenate([each.place for each in networks]), np.concatenate([np.arange(own) for own in depths]),
        np.concatenate([each.kinds for each in networks]), np.repeat(np.arange(len(networks)), depths), depths,
    )  # fmt: skip
    return Chunks(*(torch.from_numpy(np.ascontiguousarray(array)) for array in arrays))
