"""DAGNN: a network of each node first, then its neighbourhoods of every size, weighed node by node."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dnal.models.graphs.propagation import Propagation
from dnal.models.graphs.sparse_inputs import SparseInputs
from dnal.models.registry import register


class DAGNN(nn.Module):
    """Two linear layers make Z of each node's features; H_l is Z after l means over neighbours, l = 0 .. K; the logits
    are the sum over l of sigmoid(H_l s + b) H_l, with one s and b for all nodes and all l.

    Features (B, N, F) and edges (B, 2, E) of whole numbers below N, from the first row to the second -> logits
    (B, classes, N). Features may be a sparse COO tensor, with which it is faster.

    Args:
        hops: K. hidden: width between the two layers. dropout: before each of them.

    Source: Liu, Gao and Ji, "Towards Deeper Graph Neural Networks" (KDD 2020), equations 8 to 10; the bias b is that of
    the authors' code.
    """

    def __init__(self, *, features: int, classes: int, hops: int = 10, hidden: int = 64, dropout: float = 0.8) -> None:
        super().__init__()
        self.hops = hops
        self.first = SparseInputs(features, hidden, dropout=dropout)
        self.dropout = nn.Dropout(dropout)
        self.second = nn.Linear(hidden, classes)
        self.gate = nn.Linear(classes, 1)

    def neighbourhoods(self, features: Tensor, edges: Tensor) -> Tensor:
        """H_0 to H_K of each node, (B, N, K + 1, classes)."""
        graphs, nodes, _ = features.shape
        propagate = Propagation.of(edges, nodes, features)
        x = features if features.is_sparse else features.flatten(0, 1)
        found = [self.second(self.dropout(F.relu(self.first(x))))]
        for _ in range(self.hops):
            found.append(propagate(found[-1]))
        return torch.stack(found, 1).view(graphs, nodes, self.hops + 1, -1)

    def gates(self, neighbourhoods: Tensor) -> Tensor:
        """How much each of them counts, 0 to 1, (B, N, K + 1, 1)."""
        return self.gate(neighbourhoods).sigmoid()  # type: ignore[no-any-return]

    def forward(self, features: Tensor, edges: Tensor) -> Tensor:
        found = self.neighbourhoods(features, edges)
        return (self.gates(found) * found).sum(2).transpose(1, 2)


@register("dagnn", input_shape=(2708, 1433, 10556), classes=7, kind="graphs")
def dagnn(*, classes: int, features: int) -> DAGNN:
    """64 hidden features, 10 hops and dropout .8, as in the paper on Cora."""
    return DAGNN(features=features, classes=classes)
