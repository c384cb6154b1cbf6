"""The graph network: neurons hear from those that they are joined to, as mean, least, largest and deviation (PNA)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dnal.predictors.weights.neural_graph.encoder import Encoder, Readout
from dnal.predictors.weights.neural_graph.neurons import Graphs
from dnal.predictors.weights.of_weights import Known

EPSILON = 1e-5


class GraphNetwork(nn.Module):
    """A logit of a network from the graph of its neurons, along its weights in both directions.

    Args:
        layers: of messages. Others: as of :class:`Encoder`.
    """

    def __init__(
        self, known: Known, width: int, edges: int, layers: int, frequencies: int, probes: int, dropout: float
    ) -> None:
        super().__init__()
        self.encoder = Encoder(known, width, edges, frequencies, probes)
        self.layers = nn.ModuleList(
            MessageLayer(width, edges, known.degree, dropout, last=place == layers - 1) for place in range(layers)
        )
        self.readout = Readout(known.outputs, width, 2 * width)

    def forward(self, graphs: Graphs) -> Tensor:
        """(B,)."""
        nodes, forwards, backwards = self.encoder(graphs)
        source, target = torch.cat([graphs.source, graphs.target]), torch.cat([graphs.target, graphs.source])
        edges = torch.cat([forwards, backwards])
        for layer in self.layers:
            nodes, edges = layer(nodes, edges, source, target)
        found: Tensor = self.readout(nodes, graphs)
        return found


class MessageLayer(nn.Module):
    """m_ij = scale(e_ij) * MLP(x_i, x_j) + shift(e_ij) to i from every j that it is joined to; then the edges.

    Args:
        degree: the mean of log(1 + edges of a neuron), by which the second scaler is divided.
    """

    def __init__(self, width: int, edges: int, degree: float, dropout: float, *, last: bool) -> None:
        super().__init__()
        self.degree = degree
        self.ends, self.message = nn.Linear(width, 2 * width), nn.Linear(width, width)
        self.scale, self.shift = nn.Linear(edges, width), nn.Linear(edges, width)
        self.out, self.norm, self.drop = nn.Linear(9 * width, width), nn.LayerNorm(width), nn.Dropout(dropout)
        self.of_ends = None if last else nn.Linear(width, 2 * edges)
        self.of_edge = None if last else nn.Linear(edges, edges)
        self.next = None if last else nn.Linear(edges, edges)

    def forward(self, nodes: Tensor, edges: Tensor, source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """(V, width) and (E, edges), along edges from ``source`` to ``target`` (E,)."""
        here, there = self.ends(nodes).chunk(2, -1)
        heard = self.message((here[target] + there[source]).relu())
        found = aggregated(self.scale(edges) * heard + self.shift(edges), target, len(nodes))
        degrees = torch.bincount(target, minlength=len(nodes)).log1p()[:, None] / self.degree
        every = torch.cat([nodes, found, found * degrees], -1)
        nodes = nodes + self.drop(torch.nn.functional.silu(self.norm(self.out(every))))
        if self.of_ends is None or self.of_edge is None or self.next is None:
            return nodes, edges
        here, there = self.of_ends(nodes).chunk(2, -1)
        edges = self.next(torch.nn.functional.silu(self.of_edge(edges) + here[target] + there[source]))
        return nodes, edges


def aggregated(messages: Tensor, target: Tensor, number: int) -> Tensor:
    """Mean, least, largest and standard deviation of the messages (E, width) to each of so many nodes, 0 where none
    comes: (number, 4 * width).

    Examples:
        >>> aggregated(torch.tensor([[1.0], [3.0]]), torch.tensor([0, 0]), 2)[0].round(decimals=3).tolist()
        [2.0, 1.0, 3.0, 1.0]
    """
    empty = messages.new_zeros(number, messages.shape[1])
    count = torch.bincount(target, minlength=number).clamp(min=1)[:, None]
    mean = empty.index_add(0, target, messages) / count
    rows = target[:, None].expand_as(messages)
    least, most = (empty.scatter_reduce(0, rows, messages, how, include_self=False) for how in ("amin", "amax"))
    apart = (messages - mean[target]).square()
    deviation = (empty.index_add(0, target, apart) / count + EPSILON).sqrt()
    return torch.cat([mean, least, most, deviation], -1)
