"""A network's operations on other inputs than those of its Space: one example is viewed where several are copied."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dnal.space.operations import Operation, with_variables
from dnal.space.rules import RULES
from dnal.space.space import Space
from dnal.space.surgery.inputs import Inputs
from dnal.space.trace import traced


def operations_on(network: nn.Module, space: Space, inputs: Inputs) -> list[Operation]:
    """The operations on other inputs than those of the Space, with its variables: what the parameters say holds for
    everything tied to them."""
    trace = traced(network, inputs, RULES, opens=bool(space.norms))
    root = trace.ledger.roots()
    of_root = torch.full((trace.ledger.size,), -1, dtype=torch.long)
    sources = {**space.sources, **space.buffer_sources}
    fixed = []
    for name, dims in trace.owners.items():
        for own, ids in zip(dims, sources.get(name, (None,) * len(dims)), strict=True):
            if own is not None and ids is not None:
                of_root[root[own]] = ids
            if own is not None:
                fixed.append(own if ids is None else own[ids < 0])
    for own in fixed:
        of_root[root[own]] = -1
    of_label: Tensor = of_root[root]
    return with_variables(trace.operations, of_label)
