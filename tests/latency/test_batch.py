"""Shapes at the batch of the profile, whatever the batch of the trace and of the example were."""

from __future__ import annotations

import pytest
import torch
from analytic import plain

import dnal
from dnal.latency.batch import operations_at


@pytest.mark.parametrize("traced_at", [1, 2, 5])
@pytest.mark.parametrize("given", [1, 2, 3])
@pytest.mark.parametrize("batch", [1, 2, 64])
def test_every_batch_leads_to_the_same_shapes(traced_at: int, given: int, batch: int) -> None:
    network, _, example = plain(8)
    space = dnal.Space.of(network, torch.cat([example[:1]] * traced_at))
    _, found = operations_at(network, space, torch.cat([example[:1]] * given), batch)
    directly = dnal.Space.of(network, torch.cat([example[:1]] * batch)).operations
    assert found == [(tuple(i.shape for i in o.inputs), tuple(i.shape for i in o.outputs)) for o in directly]
