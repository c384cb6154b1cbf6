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
