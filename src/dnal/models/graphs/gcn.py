"""A graph convolutional network in plain torch."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from dnal.models.graphs.propagation import Propagation
from dnal.models.graphs.sparse_inputs import SparseInputs
from dnal.models.registry import register

WIDTH = 64


class GCN(nn.Module):
    """Layers that transform the features of each node, and take the mean over it and its neighbours, each weighted by
    one over the root of its number of neighbours.

    Features (B, N, F) and edges (B, 2, E) of whole numbers below N, from the first row to the second -> logits
    (B, classes, N). Features may be a sparse COO tensor, with which it is faster.

    Args:
        dropout: before each layer. norms: batch norms between layers.

    Source: Kipf and Welling, "Semi-Supervised Classification with Graph Convolutional Networks"
    (2017), equation 2.
    """

    def __init__(
        self, *, features: int, classes: int, layers: int = 2, dropout: float = 0.0, norms: bool = False
    ) -> None:
        super().__init__()
        first, *others = pairwise([features, *[WIDTH] * (layers - 1), classes])
        self.layers = nn.ModuleList([SparseInputs(*first, dropout=dropout), *(nn.Linear(*pair) for pair in others)])
        self.norms = nn.ModuleList(nn.BatchNorm1d(WIDTH) if norms else nn.Identity() for _ in others)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Tensor, edges: Tensor) -> Tensor:
        graphs, nodes, _ = features.shape
        propagate = Propagation.of(edges, nodes, features)
        x = features if features.is_sparse else features.flatten(0, 1)
        for number, layer in enumerate(self.layers):
            x = propagate(layer(self.dropout(F.relu(self.norms[number - 1](x))) if number else x))
        return x.unflatten(0, (graphs, nodes)).transpose(1, 2)  # type: ignore[no-any-return]


@register("gcn/small", input_shape=(600, 16, 4660), classes=4, kind="graphs")
def small(*, classes: int, features: int) -> GCN:
    """Two layers, 64 hidden features, as in the paper with four times its width."""
    return GCN(features=features, classes=classes)
