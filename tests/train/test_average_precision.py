"""Average precision of a network on pairs, by hand and as scikit-learn says."""

from __future__ import annotations

import pytest
import torch
from sklearn.metrics import average_precision_score
from torch import Tensor, nn

from dnal.base.errors import UserError
from dnal.train.average_precision import average_precision
from dnal.train.evaluate import IGNORED


class Shifted(nn.Module):
    """Logits whose difference is the input; dropout shows in which mode it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.9)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(torch.stack([torch.full_like(x, 0.5), x + 0.5], 1))


def test_it_is_that_of_all_batches_together_without_what_does_not_count() -> None:
    draw = torch.Generator().manual_seed(0)
    scores, told = torch.randn(60, 7, generator=draw), torch.randint(2, (60, 7), generator=draw)
    scores = scores.round(decimals=1)  # with ties
    there = torch.rand(60, 7, generator=draw) < 0.8
    targets = torch.where(there, told, IGNORED)
    network = Shifted().train()
    found = average_precision(network, list(zip(scores.split(16), targets.split(16), strict=True)))
    # Sums and differences of logits round scores; equal ones stay equal.
    assert found == pytest.approx(average_precision_score(told[there], scores[there]), abs=1e-6)
    assert network.training


def test_it_is_the_mean_of_the_precisions_at_true_ones() -> None:
    found = average_precision(Shifted(), [(torch.tensor([3.0, 2.0, 1.0, 0.0]), torch.tensor([0, 1, 0, 1]))])
    assert found == pytest.approx((1 / 2 + 2 / 4) / 2)


def test_it_is_of_two_classes() -> None:
    with pytest.raises(UserError, match="average precision is of logits"):
        average_precision(nn.Linear(4, 3), [(torch.randn(5, 4), torch.zeros(5).long())])
