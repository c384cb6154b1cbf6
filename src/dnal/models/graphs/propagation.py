"""The mean over a node and its neighbours, each weighted by one over the roots of both numbers of neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Propagation:
    """Of several graphs as one, whose nodes are counted on.

    Attributes:
        source, target: of each edge, (E,), with one from every node to itself. weight: of each edge, (E, 1).
    """

    source: Tensor
    target: Tensor
    weight: Tensor

    @classmethod
    def of(cls, edges: Tensor, nodes: int, like: Tensor) -> Propagation:
        """D^-1/2 (A + I) D^-1/2; an edge from a node to itself that is there already counts once.

        Args:
            edges: (B, 2, E) of B graphs of ``nodes`` nodes each. like: a tensor of the type of the weights.

        Source: Kipf and Welling, "Semi-Supervised Classification with Graph Convolutional Networks" (2017), equation 2.
        """
        graphs = edges.size(0)
        own = torch.arange(graphs * nodes, device=edges.device)
        first = (torch.arange(graphs, device=edges.device) * nodes).view(-1, 1)
        source, target = (torch.cat([(row + first).flatten(), own]) for row in edges.unbind(1))
        count = torch.cat([(edges[:, 0] != edges[:, 1]).flatten(), torch.ones_like(own, dtype=torch.bool)]).to(like)
        neighbours = torch.zeros_like(own, dtype=like.dtype).index_add(0, target, count)
        root = neighbours.rsqrt()
        return cls(source, target, (count * root[source] * root[target]).unsqueeze(1))

    def __call__(self, x: Tensor) -> Tensor:
        """(nodes of all graphs, F) -> the same shape."""
        return torch.zeros_like(x).index_add(0, self.target, x.index_select(0, self.source) * self.weight)
