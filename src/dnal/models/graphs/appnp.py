"""APPNP and SGC: networks for graphs that spread what was made of each node, or its features, with fixed weights."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from dnal.models.graphs.propagation import Propagation
from dnal.models.graphs.sparse_inputs import SparseInputs


class APPNP(nn.Module):
    """Two linear layers make Z of each node; then ``hops`` times x = (1 - restart) mean(x) + restart Z.

    Features (B, N, F), also sparse, and edges (B, 2, E) -> logits (B, classes, N). Source: Klicpera, Bojchevski and
    Günnemann, "Predict then Propagate" (2019), equation 4, without dropout of edges.
    """

    def __init__(
        self,
        *,
        features: int,
        classes: int,
        hops: int = 10,
        restart: float = 0.1,
        hidden: int = 64,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.hops, self.restart = hops, restart
        self.first = SparseInputs(features, hidden, dropout=dropout)
        self.dropout = nn.Dropout(dropout)
        self.second = nn.Linear(hidden, classes)

    def forward(self, features: Tensor, edges: Tensor) -> Tensor:
        graphs, nodes, _ = features.shape
        propagate = Propagation.of(edges, nodes, features)
        start = self.second(
            self.dropout(F.relu(self.first(features if features.is_sparse else features.flatten(0, 1))))
        )
        x = start
        for _ in range(self.hops):
            x = (1 - self.restart) * propagate(x) + self.restart * start
        return x.unflatten(0, (graphs, nodes)).transpose(1, 2)  # type: ignore[no-any-return]


class SGC(nn.Module):
    """A linear layer of the features after ``hops`` means over neighbours; since both are linear, the layer comes
    first, which is cheaper.

    Features (B, N, F), also sparse, and edges (B, 2, E) -> logits (B, classes, N). Source: Wu et al., "Simplifying
    Graph Convolutional Networks" (2019), equation 7; the bias does not go through the means.
    """

    def __init__(self, *, features: int, classes: int, hops: int = 2) -> None:
        super().__init__()
        self.hops = hops
        self.linear = SparseInputs(features, classes, dropout=0.0)

    def forward(self, features: Tensor, edges: Tensor) -> Tensor:
        graphs, nodes, _ = features.shape
        propagate = Propagation.of(edges, nodes, features)
        bias = self.linear.bias
        x = self.linear(features if features.is_sparse else features.flatten(0, 1)) - bias
        for _ in range(self.hops):
            x = propagate(x)
        return (x + bias).unflatten(0, (graphs, nodes)).transpose(1, 2)  # type: ignore[no-any-return]
