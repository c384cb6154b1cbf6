import pytest
import torch
from torch import nn

import dnal
from dnal.methods.slimming import slimming_scores


def test_scores_are_the_scales_of_the_norms_that_a_channel_passes() -> None:
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2)
    )
    with torch.no_grad():
        network[1].weight.copy_(torch.tensor([0.5, -2.0, 0.1, 1.0]))
    space = dnal.Space.of(network, torch.rand(1, 1, 6, 6))
    scores = slimming_scores(network, space)
    assert torch.allclose(scores[space.sources["1.weight"][0]], torch.tensor([0.5, 2.0, 0.1, 1.0], dtype=torch.float64))
    assert bool(scores[space.sources["3.weight"][0]].isinf().all()), "no norm follows: it comes first"


def test_without_a_norm_there_is_nothing_to_rank_by() -> None:
    """Batch norms that only what stays passes count for none."""
    network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3), nn.BatchNorm1d(3))
    data = [(torch.rand(8, 4), torch.arange(8) % 3)]
    with pytest.raises(dnal.UserError, match="in this network none passes one"):
        dnal.learn(network, data, data, budget="macs<=50%", method="slimming", epochs=(1, 1, 1))
    normed = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    dnal.learn(normed, data, data, budget="macs<=50%", method="slimming", epochs=(1, 1, 1))
