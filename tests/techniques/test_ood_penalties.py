"""Penalties for several environments, by hand and against gradients of torch.func."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from dnal.base.errors import UserError
from dnal.techniques.rich import fishr, head_gradients, irmv1, nll, spectral_decoupling, vrex


def test_irm_is_the_square_of_the_slope() -> None:
    """d/ds of -log sigmoid(s z) at s = 1 is -z (1 - sigmoid(z))."""
    logits = [torch.tensor([0.0, math.log(3)]), torch.tensor([-math.log(3)])]
    targets = [torch.tensor([1, 1]), torch.tensor([1])]
    slopes = [(0 - math.log(3) * 0.25) / 2, math.log(3) * 0.75]
    assert float(irmv1(logits, targets).detach()) == pytest.approx((slopes[0] ** 2 + slopes[1] ** 2) / 2)
    column = [each[:, None] for each in logits]
    assert torch.allclose(irmv1(column, targets), irmv1(logits, targets))


def test_irm_of_classes_is_its_difference_quotient_and_has_gradients() -> None:
    torch.manual_seed(0)
    logits = [torch.randn(5, 3, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    targets = [torch.randint(3, (5,)) for _ in range(2)]
    h = 1e-6
    slopes = [
        (F.cross_entropy((1 + h) * z, y) - F.cross_entropy((1 - h) * z, y)) / (2 * h)
        for z, y in zip(logits, targets, strict=True)
    ]
    found = irmv1(logits, targets)
    assert float(found.detach()) == pytest.approx(sum(float(s.detach()) ** 2 for s in slopes) / 2, rel=1e-6)
    assert torch.autograd.gradcheck(lambda a, b: irmv1([a, b], targets), logits)


def test_vrex_is_the_variance_by_the_number_of_environments() -> None:
    assert float(vrex([torch.tensor(1.0), torch.tensor(2.0), torch.tensor(6.0)])) == pytest.approx(14 / 3)
    assert float(vrex([torch.tensor(4.0)])) == 0


def test_spectral_decoupling_is_the_mean_square_of_all_logits() -> None:
    logits = [torch.tensor([[1.0, -2.0]]), torch.tensor([[3.0, 0.0], [0.0, 0.0]])]
    assert float(spectral_decoupling(logits)) == pytest.approx(14 / 6)


def test_fishr_by_hand() -> None:
    """Variances (1, 0) and (4, 0), by the number of examples: their mean is (2.5, 0)."""
    one, other = torch.tensor([[0.0, 5.0], [2.0, 5.0]]), torch.tensor([[1.0, 7.0], [5.0, 7.0], [1.0, 7.0], [5.0, 7.0]])
    assert float(fishr([one, other])) == pytest.approx(1.5**2)
    assert float(fishr([one, one])) == 0


@pytest.mark.parametrize("classes", [1, 4])
def test_gradients_of_the_head_are_those_of_torch_func(classes: int) -> None:
    torch.manual_seed(0)
    body, head = nn.Sequential(nn.Linear(5, 6), nn.ReLU()).double(), nn.Linear(6, classes).double()
    x, y = torch.randn(9, 5, dtype=torch.float64), torch.randint(max(2, classes), (9,))

    def of_one(weights: dict[str, Tensor], row: Tensor, target: Tensor) -> Tensor:
        return nll(functional_call(head, weights, (body(row[None]),)), target[None]).mean()

    weights = {name: parameter.detach() for name, parameter in head.named_parameters()}
    found: Any = vmap(grad(of_one), in_dims=(None, 0, 0))(weights, x, y)
    expected = torch.cat([found["weight"].flatten(1), found["bias"]], 1)
    features = body(x)
    assert torch.allclose(head_gradients(features, head(features), y), expected, atol=1e-12)

    halves = [slice(0, 4), slice(4, 9)]
    variances = [((expected[rows] - expected[rows].mean(0)) ** 2).mean(0) for rows in halves]
    mean = (variances[0] + variances[1]) / 2
    by_func = sum(((v - mean) ** 2).sum() for v in variances) / 2
    penalty = fishr([head_gradients(features[rows], head(features[rows]), y[rows]) for rows in halves])
    assert torch.allclose(penalty, torch.as_tensor(by_func), atol=1e-12)
    penalty.backward()
    assert body[0].weight.grad is not None, "it reaches the features"
    assert bool(body[0].weight.grad.any())


def test_the_loss_of_one_logit_is_that_of_two_of_which_one_is_zero() -> None:
    z, y = torch.randn(6), torch.randint(2, (6,))
    two = torch.stack([torch.zeros(6), z], 1)
    assert torch.allclose(nll(z, y), nll(two, y), atol=1e-6)
    assert torch.allclose(nll(z[:, None], y), nll(two, y), atol=1e-6)


def test_no_environment_is_refused() -> None:
    for penalty in (vrex, spectral_decoupling, fishr):
        with pytest.raises(UserError, match="one environment or more"):
            penalty([])
    with pytest.raises(UserError, match="one environment or more"):
        irmv1([torch.zeros(2)], [])
