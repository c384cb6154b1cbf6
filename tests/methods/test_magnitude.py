import torch
from torch import nn

import dnal
from dnal.methods.magnitude import l1_scores


def test_scores_by_hand(network: nn.Module, space: dnal.Space) -> None:
    scores = l1_scores(network, space)
    first, second, last = network[0].weight, network[3].weight, network[8].weight
    expected = first.abs().sum((1, 2, 3)) + second.abs().sum((0, 2, 3))
    group = next(g for g in space.groups if ("0.weight", 0) in g.places)
    ids = space.sources["0.weight"][0]
    assert ids is not None
    assert torch.allclose(scores[ids], (expected / expected.mean()).double(), rtol=1e-5)
    assert abs(float(scores[group.variables].mean()) - 1) < 1e-6
    ids = space.sources["3.weight"][0]
    assert ids is not None
    expected = second.abs().sum((1, 2, 3)) + last.abs().sum(0)
    assert torch.allclose(scores[ids], (expected / expected.mean()).double(), rtol=1e-5)
