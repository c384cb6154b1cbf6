import torch
from torch import nn

import dnal
from dnal.methods.relative import over_mean


def test_the_scale_of_a_layer_does_not_matter_and_its_order_stays() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.ReLU(), nn.Conv2d(6, 2, 3))
    space = dnal.Space.of(network, torch.rand(1, 3, 9, 9))
    first, second = (group.variables for group in space.groups)
    scores = torch.rand(space.num_gates, dtype=torch.float64) + 0.1
    scaled = scores.clone()
    scaled[second] *= 1e-6
    found = over_mean(scaled, space)
    assert torch.allclose(found, over_mean(scores, space), rtol=1e-6)
    for variables in (first, second):
        assert torch.equal(found[variables].argsort(), scores[variables].argsort())
        assert torch.isclose(found[variables].mean(), torch.ones((), dtype=torch.float64))


def test_branches_are_compared_with_branches_and_dead_layers_stay_finite() -> None:
    network = dnal.models.create("cifar/resnet20", classes=10, input_shape=(3, 32, 32))
    space = dnal.Space.of(network, torch.rand(1, 3, 32, 32), depth=True)
    assert space.num_branches
    scores = torch.zeros(space.num_gates)
    scores[space.num_variables :] = torch.arange(1.0, space.num_branches + 1) * 1e-9
    found = over_mean(scores, space)
    assert torch.equal(found[: space.num_variables], torch.zeros(space.num_variables))
    assert torch.isclose(found[space.num_variables :].mean(), torch.ones(()))
    assert bool((scores[space.num_variables :] < 1e-7).all()), "what was given stays as it was"
