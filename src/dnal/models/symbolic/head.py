"""The head of a network whose structure is a graph."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dnal.base.errors import UserError
from dnal.models.symbolic.graph import PortGraph

LONGEST_WAVE = 10_000.0


class GraphHead(nn.Module):
    """Features spread over the nodes and edges of a graph, layers along its edges, and a linear layer of the mean.

    The features are cut into as many consecutive slices as the graph has nodes and edges; the first one takes what is
    left over. Each node and edge repeats the slice of its id up to the whole length, and adds a fixed encoding of its
    id and port. A layer is W (h_i + sum over edges from j to i of relu(h_j + e_ij)) + b (GINE); each edge sends a
    message both ways. Dropout acts on nodes and edges before every layer.

    (B, features) -> logits (B, classes).

    Args:
        graph: a valid one with at most ``features`` nodes and edges. features: a multiple of 4.

    Raises:
        UserError: the graph or the number of features does not fit.

    Source: Whitehouse, "Symbolic Synthesis of Neural Networks" (2023, arXiv 2303.03340), as its code has it, except
    for two faults: there each edge is there twice, so that it sends two messages each way, and slices are counted for
    the double, so that the last ones are never read; and its encoding mixes up id and port where their numbers differ.

    Examples:
        >>> from dnal.models.symbolic.graph import graph_of
        >>> GraphHead(graph_of([(0, 1), (1, 2)]), features=32, classes=10)(torch.randn(4, 32)).shape
        torch.Size([4, 10])
    """

    places: Tensor
    encoding: Tensor
    source: Tensor
    target: Tensor

    def __init__(self, graph: PortGraph, *, features: int, classes: int, layers: int = 3, dropout: float = 0.3) -> None:
        super().__init__()
        if not graph.valid:
            raise UserError("the graph of a head has several nodes in one piece; give one that is valid.")
        if features % 4 or features < graph.elements:
            raise UserError(
                f"the features of a head are a multiple of 4, and at least one for each of the graph's "
                f"{graph.elements} nodes and edges, not {features}."
            )
        self.graph, self.nodes = graph, len(graph.nodes)
        row = {node: nth for nth, node in enumerate(graph.nodes)}
        ends = torch.tensor([(row[edge.one], row[edge.other]) for edge in graph.edges]).T
        ids = [*graph.nodes, *(edge.id for edge in graph.edges)]
        ports = [0] * self.nodes + [edge.port + 1 for edge in graph.edges]
        self.register_buffer("places", _slices(graph.elements, features)[ids], persistent=False)
        self.register_buffer("encoding", _encoding(ids, ports, features), persistent=False)
        self.register_buffer("source", torch.cat([ends[0], ends[1]]), persistent=False)
        self.register_buffer("target", torch.cat([ends[1], ends[0]]), persistent=False)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(nn.Linear(features, features) for _ in range(layers))
        self.out = nn.Linear(features, classes)

    def forward(self, features: Tensor) -> Tensor:
        spread = features[:, self.places] + self.encoding
        nodes, edges = spread[:, : self.nodes], spread[:, self.nodes :]
        for layer in self.layers:
            nodes, dropped = self.dropout(nodes), self.dropout(edges)
            sent = F.relu(nodes.index_select(1, self.source) + torch.cat([dropped, dropped], 1))
            nodes = layer(nodes.index_add(1, self.target, sent))
        return self.out(nodes.mean(1))  # type: ignore[no-any-return]


def _slices(elements: int, features: int) -> Tensor:
    """Which features each element repeats, (elements, features)."""
    each, more = divmod(features, elements)
    first = [0, *(each + more + nth * each for nth in range(elements - 1))]
    lengths = [each + more] + [each] * (elements - 1)
    along = torch.arange(features)
    return torch.stack([start + along % length for start, length in zip(first, lengths, strict=True)])


def _encoding(ids: list[int], ports: list[int], features: int) -> Tensor:
    """Sines and cosines of id and port, (elements, features)."""
    quarter = features // 4
    speeds = torch.exp(-math.log(LONGEST_WAVE) * torch.arange(quarter) / max(1, quarter - 1))
    angles = [torch.tensor(values, dtype=torch.float)[:, None] * speeds for values in (ids, ports)]
    return torch.cat([wave for angle in angles for wave in (angle.sin(), angle.cos())], 1)
