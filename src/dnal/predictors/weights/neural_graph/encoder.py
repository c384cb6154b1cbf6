"""What is known of neurons and weights as vectors: Fourier features, positions, kinds, and what probes make of them."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from dnal.predictors.weights.chain import said
from dnal.predictors.weights.neural_graph.neurons import KINDS, Graphs
from dnal.predictors.weights.of_weights import Known


class Fourier(nn.Module):
    """Numbers beside sines and cosines of random directions in them, as drawn at the beginning."""

    directions: Tensor

    def __init__(self, numbers: int, frequencies: int, out: int) -> None:
        super().__init__()
        self.register_buffer("directions", torch.randn(frequencies, numbers))
        self.linear = nn.Linear(numbers + 2 * frequencies, out)

    def forward(self, x: Tensor) -> Tensor:
        """(..., numbers) -> (..., out)."""
        angles = x @ self.directions.T
        found: Tensor = self.linear(torch.cat([x, angles.sin(), angles.cos()], -1))
        return found


class Probes(nn.Module):
    """What neurons say of learnt examples, on which the networks themselves are run."""

    def __init__(self, probes: int, pixels: int, width: int) -> None:
        super().__init__()
        self.examples = nn.Parameter(2 * torch.rand(probes, pixels) - 1)
        self.read = nn.Sequential(nn.Linear(probes, width), nn.LayerNorm(width))

    def forward(self, graphs: Graphs) -> Tensor:
        """(V, width)."""
        found = []
        for network in graphs.networks:
            examples = self.examples.view(-1, *network.inputs)
            first = examples if network.layers[0].convolves else examples.flatten(1)
            parts = [first, *said(network, examples)]
            found += [part if part.dim() == 2 else part.mean((2, 3)) for part in parts]
        heard: Tensor = self.read(torch.cat([part.T for part in found]))
        return heard


class Encoder(nn.Module):
    """Vectors of neurons and of weights, forwards (to what reads) and backwards.

    Args:
        known: of the networks. width, edges: of a neuron's and a weight's vector. frequencies: of Fourier features.
        probes: how many; 0: none.
    """

    def __init__(self, known: Known, width: int, edges: int, frequencies: int, probes: int) -> None:
        super().__init__()
        self.bias = Fourier(1, frequencies, width)
        self.position = nn.Embedding(known.inputs + known.outputs + known.hidden, width)
        self.kind = nn.Embedding(len(KINDS), width)
        self.forwards = Fourier(known.positions, frequencies, edges)
        self.backwards = nn.Linear(edges, edges)
        self.probes = Probes(probes, known.pixels, width) if probes else None

    def forward(self, graphs: Graphs) -> tuple[Tensor, Tensor, Tensor]:
        """(V, width), and twice (E, edges)."""
        nodes = self.bias(graphs.bias[:, None]) + self.position(graphs.position) + self.kind(graphs.kind)
        if self.probes is not None:
            nodes = nodes + self.probes(graphs)
        forwards = self.forwards(graphs.weight)
        return nodes / math.sqrt(2), forwards, self.backwards(forwards)


class Readout(nn.Module):
    """A logit of the vectors of the outputs, one after another."""

    def __init__(self, outputs: int, width: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(outputs * width, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def forward(self, nodes: Tensor, graphs: Graphs) -> Tensor:
        """(B,)."""
        found: Tensor = self.layers(nodes[graphs.outputs].flatten(1))
        return found.squeeze(-1)
