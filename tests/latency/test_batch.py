"""Shapes at the batch of the profile, whatever the batch of the trace and of the example were."""

from __future__ import annotations

import pytest
import torch
from analytic import plain
from torch import Tensor, nn

import dnal
from dnal.latency import LatencyModel, profile
from dnal.latency.batch import operations_at
from dnal.latency.model import Term


@pytest.mark.parametrize("traced_at", [1, 2, 5])
@pytest.mark.parametrize("given", [1, 2, 3])
@pytest.mark.parametrize("batch", [1, 2, 64])
def test_every_batch_leads_to_the_same_shapes(traced_at: int, given: int, batch: int) -> None:
    network, _, example = plain(8)
    space = dnal.Space.of(network, torch.cat([example[:1]] * traced_at))
    _, found = operations_at(network, space, torch.cat([example[:1]] * given), batch)
    directly = dnal.Space.of(network, torch.cat([example[:1]] * batch)).operations
    assert found == [(tuple(i.shape for i in o.inputs), tuple(i.shape for i in o.outputs)) for o in directly]


class Tokens(nn.Module):
    """One example is viewed where several are copied."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 16)
        layer = nn.TransformerEncoderLayer(16, 4, 24, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.head = nn.Linear(16, 4)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.encoder(self.embedding(tokens)).mean(1))


@pytest.mark.parametrize(("traced_at", "batch"), [(2, 1), (1, 2), (3, 1), (1, 5)])
def test_a_batch_at_which_other_operations_run(traced_at: int, batch: int) -> None:
    """They are those of a Space that is found there, of every architecture."""
    network, tokens = Tokens().eval(), torch.randint(1, 50, (5, 12))
    space, there = (dnal.Space.of(network, tokens[:n]) for n in (traced_at, batch))
    names = [[operation.name for operation in one.operations] for one in (space, there)]
    assert names[0] != names[1]
    operations, shapes = operations_at(network, space, tokens[:traced_at], batch)
    assert [o.name for o in operations] == names[1]
    assert shapes == [(tuple(i.shape for i in o.inputs), tuple(i.shape for i in o.outputs)) for o in there.operations]
    for own, other in zip(operations, there.operations, strict=True):
        for one, two in zip((*own.inputs, *own.outputs), (*other.inputs, *other.outputs), strict=True):
            for ids, expected in zip(one.sides, two.sides, strict=True):
                assert (ids is None) == (expected is None)
                assert ids is None or torch.equal(ids.unique(), expected.unique())


@pytest.mark.usefixtures("own_cache")
@pytest.mark.parametrize(("traced_at", "batch"), [(2, 1), (1, 4)])
def test_a_profile_at_a_batch_at_which_other_operations_run(traced_at: int, batch: int) -> None:
    """The positions in its tables are the sizes that the compact network has at this batch."""
    network, tokens = Tokens().eval(), torch.randint(1, 50, (4, 12))
    space = dnal.Space.of(network, tokens[:traced_at])
    model = profile(network, space, tokens[:traced_at], batch=batch)
    model = LatencyModel.of(model.document())
    whole = torch.ones(space.num_gates)
    assert float(model.cost(space)(whole)) > 0
    kinds = {(term.path, term.name): term for term in model.terms}
    hidden, products = kinds["encoder.layers.0.linear1", "addmm"], [t for t in model.terms if t.kind == "product"]
    assert products
    assert _widths(space, hidden, whole) == [24]
    for group in space.groups:
        gates = whole.clone()
        gates[group.variables[1:]] = 0
        names = [place for place, _ in group.places]
        if "encoder.layers.0.linear1.weight" in names:
            assert _widths(space, hidden, gates) == [1]
        if "encoder.layers.0.self_attn.out_proj.weight" in names:  # a quarter of the heads
            for term in products:
                assert _widths(space, term, gates) == [width / 4 for width in _widths(space, term, whole)]


def _widths(space: dnal.Space, term: Term, gates: Tensor) -> list[float]:
    """The sizes of a term's axes, by its definition."""
    operation = space.operations[term.operation]
    sides = [operand.sides for operand in (*operation.inputs, *operation.outputs)]
    found = []
    for sums in term.axes:
        found.append(0.0)
        for factor, places in sums:
            for operand, dim in places:
                ids = sides[operand][dim]
                assert ids is not None
                factor *= float(gates[ids[ids >= 0]].sum()) + int((ids < 0).sum())
            found[-1] += factor
    return found
