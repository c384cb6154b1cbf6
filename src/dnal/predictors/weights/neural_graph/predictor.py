"""Neural Graphs as a predictor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from dnal.base.errors import UserError
from dnal.base.options import option
from dnal.predictors.predictor import Architectures
from dnal.predictors.weights.chain import check_chains
from dnal.predictors.weights.neural_graph.aggregation import GraphNetwork
from dnal.predictors.weights.neural_graph.neurons import Graphs, Neurons, neurons_of, together
from dnal.predictors.weights.neural_graph.transformer import RelationalTransformer
from dnal.predictors.weights.of_weights import OfWeights


@dataclass(eq=False, repr=False)
class NeuralGraph(OfWeights):
    """Reads a network as the graph of its neurons, so that no order of hidden neurons or channels changes its answer.

    A neuron, or a channel, is a node with its bias; a weight, or a kernel, is an edge. Each input and each output has a
    learnt position of its own, and all neurons of a hidden layer share one. With ``network=transformer`` every neuron
    attends to all of its network by what is between them, and edges are updated; with ``network=graph`` it hears mean,
    least, largest and deviation of what its neighbours say. With ``probes`` neurons also have what they say of so many
    learnt examples. A readout of the outputs' nodes says the answer.

    Differs from the published one: weights are measured against the root of what their neuron reads, with one scale for
    all layers and not one a layer; Fourier features stand beside the numbers; a weight is an edge in both directions
    from the start; defaults are a quarter of the published sizes.

    Source: Kofinas, Knyazev, Zhang, Chen, Burghouts, Gavves, Snoek and Zhang, Graph Neural Networks for Learning
    Equivariant Representations of Neural Networks (ICLR 2024, arXiv 2403.12143). Layers and training follow its code as
    far as it was read; how convolutions are encoded is partly recalled.
    """

    network: Literal["transformer", "graph"] = option("transformer", "Attention to all neurons, or along weights.")
    width: int = option(32, "Of a neuron's vector; a multiple of heads.", least=1, most=2**10)
    edges: int = option(16, "Of a weight's vector.", least=1, most=2**10)
    depth: int = option(2, "Layers.", least=1, most=32)
    heads: int = option(4, "Of attention.", least=1, most=64)
    frequencies: int = option(16, "Of the Fourier features.", least=1, most=2**10)
    probes: int = option(0, "Learnt examples that every network is run on.", least=0, most=2**10)

    def _encode(self, architectures: Architectures) -> list[Neurons]:
        check_chains(architectures)
        networks: Any = architectures
        if self.width % self.heads:
            raise UserError(f"width is a multiple of heads, and {self.width} is none of {self.heads}.")
        if self.probes and any(math.prod(each.inputs) != self.known_.pixels for each in networks):
            raise UserError("probes are for networks that all read examples of one size; use probes=0.")
        return [neurons_of(each, self.known_) for each in networks]

    def _batch(self, encoded: Sequence[Neurons]) -> Graphs:
        return together(encoded)

    def _size(self, encoded: Neurons) -> int:
        return len(encoded.bias)

    def _network(self) -> nn.Module:
        sizes = (self.known_, self.width, self.edges, self.depth)
        if self.network == "graph":
            return GraphNetwork(*sizes, self.frequencies, self.probes, self.dropout)
        return RelationalTransformer(*sizes, self.frequencies, self.probes, self.dropout, heads=self.heads)
