"""EL2N, GraNd and forgetting scores against loops written out."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnal.base.errors import UserError
from dnal.techniques.data_diet import Forgetting, el2n, grand


def network() -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(64, 3)
    )
    net[1].running_mean.normal_()
    return net


def batch(count: int = 70) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    return torch.randn(count, 1, 6, 6, generator=draw), torch.randint(3, (count,), generator=draw)


def test_el2n_is_the_distance_of_the_probabilities_written_out() -> None:
    logits, targets = torch.randn(9, 4), torch.randint(4, (9,))
    for row, target, found in zip(logits, targets, el2n(logits, targets), strict=True):
        powers = [math.exp(float(value)) for value in row]
        error = [power / sum(powers) - (number == int(target)) for number, power in enumerate(powers)]
        assert float(found) == pytest.approx(math.sqrt(sum(value**2 for value in error)), abs=1e-6)
    assert float(el2n(torch.tensor([[50.0, 0.0]]), torch.tensor([1]))) == pytest.approx(math.sqrt(2))
    assert float(el2n(torch.tensor([[50.0, 0.0]]), torch.tensor([0]))) == pytest.approx(0)


def test_grand_is_the_norm_of_each_examples_own_gradient_and_changes_nothing() -> None:
    net, (x, y) = network(), batch()
    net[0].bias.requires_grad_(False)
    before, modes = copy.deepcopy(net.state_dict()), [module.training for module in net.modules()]
    found = grand(net, x, y)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert [module.training for module in net.modules()] == modes
    net.eval()
    for number in (0, 3, 65, 69):
        net.zero_grad(set_to_none=True)
        F.cross_entropy(net(x[number : number + 1]), y[number : number + 1]).backward()
        squares = sum(float(p.grad.square().sum()) for p in net.parameters() if p.grad is not None)
        assert float(found[number]) == pytest.approx(math.sqrt(squares), rel=1e-4)


def test_grand_of_inputs_by_name() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, values: Tensor) -> dict[str, Tensor]:
            return {"logits": self.layer(values)}

    net, x, y = Named(), torch.randn(5, 4), torch.randint(3, (5,))
    assert torch.allclose(grand(net, {"values": x}, y), grand(net.layer, x, y), atol=1e-6)


def test_what_is_forgotten_is_counted() -> None:
    right, wrong = torch.tensor([[9.0, 0.0]]), torch.tensor([[0.0, 9.0]])
    counts = Forgetting(3)
    for example, course in enumerate(["rwrwr", "wwrrr", "wwwww"]):
        for seen in course:
            counts.see(torch.tensor([example]), right if seen == "r" else wrong, torch.tensor([0]))
    assert counts.scores().tolist() == [2.0, 0.0, math.inf]


def test_what_has_no_class_per_example_is_one_sentence() -> None:
    with pytest.raises(UserError, match="logits"):
        el2n(torch.randn(4, 3, 2), torch.randint(3, (4, 2)))
    with pytest.raises(UserError, match="logits"):
        el2n(torch.randn(4, 3), torch.rand(4))


@pytest.mark.parametrize("targets", [[0, 1, 4], [0, 1, -100]])
def test_classes_that_are_none(targets: list[int]) -> None:
    with pytest.raises(UserError, match="classes from 0 to 3, not from"):
        el2n(torch.zeros(3, 4), torch.tensor(targets))


def test_a_network_without_gradients_has_no_score() -> None:
    with pytest.raises(UserError, match="no weight that is trained"):
        grand(network().requires_grad_(False), *batch(4))
