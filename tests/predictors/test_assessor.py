"""The assessor: its propagation written out, and what it says of one that joins the graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from architectures import CELLS, WORTH
from torch.utils._python_dispatch import TorchDispatchMode

from dnal.base.errors import UserError
from dnal.predictors.assessor import Assessor, AssessorNetwork, likeness, propagation


def test_propagation_is_the_matrix_written_out() -> None:
    codes = torch.randn(6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    edges = likeness(codes, codes, 0.5)
    edges = edges - torch.diag(edges.diagonal())
    found = propagation(edges)
    degrees = [1 + sum(float(edges[i, j]) for j in range(6)) for i in range(6)]
    for i in range(6):
        for j in range(6):
            apart = sum((float(codes[i, k]) - float(codes[j, k])) ** 2 for k in range(3))
            s = 1.0 if i == j else np.exp(-apart / (2 * 0.5))
            s = s if s >= 1e-5 else 0.0
            assert float(found[i, j]) == pytest.approx(s / (degrees[i] * degrees[j]) ** 0.5, abs=1e-12)


def test_a_narrow_graph_is_no_graph_and_a_wide_one_says_the_same_of_all() -> None:
    torch.manual_seed(0)
    network = AssessorNetwork(5, 8, 4, 6)
    codes = network.codes(torch.randn(7, 5))
    for variance, expected in ((1e-9, network(codes, None)), (1e9, None)):
        edges = likeness(codes, codes, variance)
        found = network(codes, propagation(edges - torch.diag(edges.diagonal())))
        if expected is None:
            assert float(found.detach().std()) < 1e-5
        else:
            assert torch.allclose(found, expected, atol=1e-6)


def test_one_that_joins_hears_what_the_whole_graph_would_tell_it() -> None:
    """Against the graph with one node more, whose own degrees are left as they were."""
    model = Assessor(epochs=30, bandwidth=0.5, hidden=16, code=4, units=8).fit(
        CELLS[:20], WORTH[:20], unlabelled=CELLS[20:40]
    )
    arrays = {name: torch.tensor(one) for name, one in model.members_[0].items()}
    references, variance = arrays.pop("references"), arrays.pop("variance")
    network = AssessorNetwork(model._encode(CELLS).shape[1], 16, 4, 8)
    network.load_state_dict(arrays, strict=False)
    assert len(references) == 40
    with torch.no_grad():
        new = network.codes(torch.tensor(model._encode(CELLS[50:51]), dtype=torch.float32))
        every = torch.cat([references, new])
        edges = likeness(every, every, variance)
        edges = edges - torch.diag(edges.diagonal())
        degrees = edges.sum(1) + 1
        degrees[:-1] -= edges[:-1, -1]  # the references do not feel it
        along = (edges + torch.eye(41)) / (degrees[:, None] * degrees).sqrt()
        along[:-1, -1] = 0
        expected = network(every, along)[-1]
    assert float(model._answer(model.members_[0], model._encode(CELLS[50:51]))[0]) == pytest.approx(
        float(expected), abs=1e-5
    )


def test_rebuilding_all_makes_codes_that_can_be_rebuilt() -> None:
    """The loss of a share is that of the formula: without labels' share nothing else is learnt."""
    x = torch.tensor(Assessor().fit(CELLS[:20], WORTH[:20])._encode(CELLS), dtype=torch.float32)
    y = torch.tensor(WORTH[:20] / WORTH.max(), dtype=torch.float32)
    lost = []
    for share in (0.0, 0.9):
        model = Assessor(graph=False, share=share, epochs=60, others=30)
        torch.manual_seed(0)
        network = model._trained(x[:20], y, x[20:], 0.02)
        with torch.no_grad():
            lost.append(float((network.decoder(network.codes(x)) - x).square().mean()))
    assert lost[1] < 0.8 * lost[0]


class Made(TorchDispatchMode):
    """Notes the largest tensor that is made in memory."""

    largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if isinstance(found, torch.Tensor) and not found.is_meta:
            self.largest = max(self.largest, found.numel())
        return found


def test_arrays_are_checked_without_a_network_of_the_sizes_that_the_options_name() -> None:
    model = Assessor(epochs=1, bandwidth=0.5, hidden=8, code=4, units=8).fit(CELLS[:20], WORTH[:20])
    model._check_arrays(model.members_[0])
    model.set_params(hidden=4096, units=4096)
    with Made() as made, pytest.raises(UserError, match=r"encoder\.0\.weight"):
        model._check_arrays(model.members_[0])
    assert made.largest < 4096
