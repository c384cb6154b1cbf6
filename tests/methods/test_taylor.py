import torch
import torch.nn.functional as F
from lightning.fabric import Fabric
from torch import nn

import dnal
from dnal.methods.taylor import taylor_scores


def test_scores_order_as_the_squared_sum_of_weight_times_gradient() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 5, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(5, 3),
    ).eval()  # fmt: skip
    x, y = torch.rand(8, 1, 6, 6), torch.arange(8) % 3
    space = dnal.Space.of(network, x[:1])
    scores = taylor_scores(Fabric(accelerator="cpu", devices=1), network, space, [(x, y)], F.cross_entropy)
    # by hand: the kernels that read channel i of the first and of the second convolution
    F.cross_entropy(network(x), y).backward()
    first = (network[2].weight * network[2].weight.grad).sum((0, 2, 3)).square()
    second = (network[6].weight * network[6].weight.grad).sum(0).square()
    expected = torch.zeros(space.num_gates, dtype=torch.float64)
    expected[space.sources["2.weight"][1]] = first.double()
    expected[space.sources["6.weight"][1]] = second.double()
    expected = expected.detach()
    assert torch.allclose(scores / scores.sum(), expected / expected.sum(), rtol=1e-4)
