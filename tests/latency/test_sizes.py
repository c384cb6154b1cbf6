import pytest
import torch

from dnal.latency.sizes import Sizes


def test_sums_of_products_written_out() -> None:
    a, b = torch.tensor([0, 1, -1]), torch.tensor([2, 3])
    sizes = Sizes([(0, 2.0, [a, b]), (0, 1.0, [a, 5]), (2, 3.0, []), (3, 1.0, [a, a])], 4)
    g = torch.tensor([0.5, 1.0, 0.25, 1.0], dtype=torch.float64)
    one, other = 0.5 + 1.0 + 1, 0.25 + 1.0
    assert sizes(g).tolist() == pytest.approx([2 * one * other + 5 * one, 0, 3, one * one])
    assert torch.autograd.gradcheck(sizes, (g.clone().requires_grad_(),))


def test_without_products_nothing_has_a_size() -> None:
    assert Sizes([], 2)(torch.ones(3, dtype=torch.float64)).tolist() == [0, 0]
