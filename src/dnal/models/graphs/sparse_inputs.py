"""A linear layer whose features may be given sparse, as words of texts are."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SparseInputs(nn.Linear):
    """Dropout and a linear layer: (N, in_features) -> (N, out_features).

    A sparse COO tensor, also (B, N, in_features) of several graphs, gives the same as its dense one, with all graphs'
    rows after one another: what is zero is neither drawn for nor multiplied.
    """

    def __init__(self, in_features: int, out_features: int, *, dropout: float) -> None:
        super().__init__(in_features, out_features)
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        if not x.is_sparse:
            return super().forward(F.dropout(x, self.dropout, self.training))
        x = x.coalesce()
        indices, values = x.indices(), F.dropout(x.values(), self.dropout, self.training)
        if x.dim() == 3:
            indices = torch.stack([indices[0] * x.size(1) + indices[1], indices[2]])
        kept = values != 0
        left = torch.sparse_coo_tensor(
            indices[:, kept], values[kept], (x.numel() // x.size(-1), x.size(-1)), is_coalesced=True,
            check_invariants=False,
        )  # fmt: skip
        total: Tensor = torch.sparse.mm(left, self.weight.t())
        return total if self.bias is None else total + self.bias
