"""The relational transformer: neurons attend to all neurons of their network, by what is between them."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from dnal.predictors.weights.neural_graph.encoder import Encoder, Readout
from dnal.predictors.weights.neural_graph.neurons import Graphs
from dnal.predictors.weights.of_weights import Known


class RelationalTransformer(nn.Module):
    """A logit of a network from the graph of its neurons.

    Args:
        layers: of attention, with so many ``heads``. Others: as of :class:`Encoder`.
    """

    def __init__(
        self, known: Known, width: int, edges: int, layers: int, frequencies: int, probes: int, dropout: float, *,
        heads: int,
    ) -> None:  # fmt: skip
        super().__init__()
        self.encoder = Encoder(known, width, edges, frequencies, probes)
        self.absent = nn.Parameter(torch.zeros(edges))
        self.layers = nn.ModuleList(
            RelationalLayer(width, edges, heads, dropout, last=place == layers - 1) for place in range(layers)
        )
        self.readout = Readout(known.outputs, width, 2 * width)

    def forward(self, graphs: Graphs) -> Tensor:
        """(B,)."""
        flat, forwards, backwards = self.encoder(graphs)
        number, size = len(graphs.outputs), int(graphs.place.max()) + 1
        where = graphs.graph, graphs.place
        nodes = flat.new_zeros(number, size, flat.shape[1]).index_put(where, flat)
        there = torch.zeros(number, size, dtype=torch.bool).index_put(where, torch.tensor(True))
        of = graphs.graph[graphs.source]
        source, target = graphs.place[graphs.source], graphs.place[graphs.target]
        edges = self.absent.expand(number, size, size, -1).index_put((of, target, source), forwards)
        edges = edges.index_put((of, source, target), backwards)
        for layer in self.layers:
            nodes, edges = layer(nodes, edges, there)
        found: Tensor = self.readout(nodes[where], graphs)
        return found


class RelationalLayer(nn.Module):
    """Attention whose queries, keys and values are changed by what is between two neurons, then the edges.

    q_ij = q(x_i) + q_e(e_ij), k_ij = k(x_j) + k_e(e_ij), v_ij = v(x_j) * m_e(e_ij) + b_e(e_ij); scores are divided by
    the root of the whole width.

    Args:
        last: the edges are not asked for any more.
    """

    def __init__(self, width: int, edges: int, heads: int, dropout: float, *, last: bool) -> None:
        super().__init__()
        self.heads = heads
        self.of_nodes, self.of_edges = nn.Linear(width, 3 * width), nn.Linear(edges, 4 * width)
        self.out, self.drop = nn.Linear(width, width), nn.Dropout(dropout)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.wider = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.update = None if last else EdgeUpdate(width, edges)
        for own in (self.of_nodes, self.of_edges, self.out):
            nn.init.xavier_uniform_(own.weight)
            nn.init.zeros_(own.bias)

    def forward(self, nodes: Tensor, edges: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        """Args:
            nodes: (B, n, width). edges: (B, n, n, edges). there: (B, n), where no padding is.
        """  # fmt: skip
        number, size, width = nodes.shape
        q, k, v = self.of_nodes(nodes).chunk(3, -1)
        more_q, more_k, times, plus = self.of_edges(edges).chunk(4, -1)
        products = (q[:, :, None] + more_q) * (k[:, None] + more_k)
        scores = products.view(number, size, size, self.heads, -1).sum(-1) / math.sqrt(width)
        scores = scores.masked_fill(~there[:, None, :, None], -torch.inf).softmax(2)
        values = (v[:, None] * times + plus).view(number, size, size, self.heads, -1)
        heard = (scores[..., None] * values).sum(2).flatten(2)
        nodes = self.norms[0](nodes + self.drop(self.out(heard)))
        nodes = self.norms[1](nodes + self.drop(self.wider(nodes)))
        return nodes, edges if self.update is None else self.update(nodes, edges)


class EdgeUpdate(nn.Module):
    """Of an edge, from what is between its neurons in both directions and from these."""

    def __init__(self, width: int, edges: int) -> None:
        super().__init__()
        self.both, self.ends = nn.Linear(2 * edges, edges), nn.Linear(width, 2 * edges)
        self.first = nn.Sequential(nn.GELU(), nn.Linear(edges, edges))
        self.second = nn.Sequential(nn.Linear(edges, edges), nn.GELU(), nn.Linear(edges, edges))
        self.norms = nn.ModuleList(nn.LayerNorm(edges) for _ in range(2))

    def forward(self, nodes: Tensor, edges: Tensor) -> Tensor:
        """(B, n, n, edges)."""
        here, other = self.ends(nodes).chunk(2, -1)
        both = self.both(torch.cat([edges, edges.transpose(1, 2)], -1))
        edges = self.norms[0](edges + self.first(both + here[:, :, None] + other[:, None]))
        found: Tensor = self.norms[1](edges + self.second(edges))
        return found
