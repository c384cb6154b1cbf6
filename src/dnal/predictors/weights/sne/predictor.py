"""SNE as a predictor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, nn

from dnal.base.errors import UserError
from dnal.base.options import option
from dnal.predictors.predictor import Architectures
from dnal.predictors.weights.chain import check_chains, permuted, scaled
from dnal.predictors.weights.of_weights import OfWeights
from dnal.predictors.weights.sne.chunks import Chunked, Chunks, chunked, longest, together
from dnal.predictors.weights.sne.network import SetEncodingNetwork

AT_BEGINNING = 128
"""Networks by which the scale of their vectors is set."""


@dataclass(eq=False, repr=False)
class SetEncoding(OfWeights):
    """Reads a network of any depth and width as sets: of numbers in a chunk, of chunks in a layer, of layers.

    The weights that a neuron reads, and its bias, are cut into chunks of ``chunk`` numbers. Set transformers make a
    vector of each chunk, of each layer and of the network; which layer it is and of which kind joins them on the way.

    Where a neuron has no more numbers than a chunk, no order of hidden neurons changes the answer. Where it has more,
    another order of the neurons before it changes which numbers are together: the answer is only nearly the same, and
    ``invariance`` is the weight of half the squared difference between the logits of a network and of the same one with
    its hidden neurons in a random order. Numbers of a chunk have no order, and neither have chunks of a layer; so
    networks that compute different functions may have one encoding. With ``places`` chunks know which piece of their
    neuron they are.

    Differs from the published one: sizes and training are ours, since no code is public; biases are part of their
    neuron's numbers, which the paper as it was read leaves open; and before training the vectors of the networks are
    put on one scale, without which it hardly starts.

    Source: Andreis, Bedionita, Torr and Hwang, Set-based Neural Network Encoding Without Weight Tying (NeurIPS 2024,
    arXiv 2305.16625): captions, reviews and notation were read, the rest is recalled.
    """

    chunk: int = option(32, "Numbers of a chunk.", least=1, most=2**12)
    width: int = option(32, "Of all vectors; a multiple of heads.", least=2, most=2**10)
    heads: int = option(4, "Of attention.", least=1, most=64)
    places: bool = option(False, "Chunks know which piece of their neuron they are.")
    invariance: float = option(1.0, "Weight of the penalty on what the order of hidden neurons changes.", least=0,
                               most=1e3)  # fmt: skip

    def _encode(self, architectures: Architectures) -> list[Chunked]:
        check_chains(architectures)
        networks: Any = architectures
        if self.width % self.heads:
            raise UserError(f"width is a multiple of heads, and {self.width} is none of {self.heads}.")
        known = self.known_
        return [chunked(scaled(each, known.weight, known.bias), self.chunk) for each in networks]

    def _batch(self, encoded: Sequence[Chunked]) -> Chunks:
        return together(encoded)

    def _size(self, encoded: Chunked) -> int:
        return len(encoded.values)

    def _network(self) -> nn.Module:
        return SetEncodingNetwork(self.width, self.heads, self.dropout, places=self.places)

    def _begin(self, network: SetEncodingNetwork, encoded: Sequence[Chunked]) -> None:
        network.begin(self._batch(encoded[:AT_BEGINNING]))

    def _penalty(self, network: nn.Module, encoded: Sequence[Chunked], logits: Tensor, rng: np.random.Generator) -> Any:
        if not self.invariance or all(longest(each.network) <= self.chunk for each in encoded):
            return 0.0  # no order changes anything
        others = [chunked(permuted(each.network, rng), self.chunk) for each in encoded]
        return self.invariance * 0.5 * (logits - network(self._batch(others))).square().mean()
