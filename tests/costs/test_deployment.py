"""The batch at which a job states the latency is the one at which layers are timed."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import dnal
from dnal.costs.deployment import Deployed


@pytest.mark.usefixtures("own_cache")
@pytest.mark.parametrize("batch", [1, 64])
def test_layers_are_timed_at_the_batch_of_the_deployment(batch: int) -> None:
    network = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 3, padding=1)).eval()
    example = torch.zeros(2, 1, 8, 8)  # two inputs, as a job traces with
    model = Deployed.of(batch, "torch-cpu").latency(
        dnal.Space.of(network, example), network, example, 1, None, lambda what, done, total: None
    )
    assert model.batch == batch
    assert {term.family for term in model.terms if term.kind == "convolution"} == {
        f"convolution from {batch * 8 * 8} positions"
    }
