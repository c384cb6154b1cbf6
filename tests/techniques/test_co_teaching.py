"""Small losses are kept, each network learns from what the other chose on the other half, with one k for both."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnal.base.errors import UserError
from dnal.techniques import co_teach
from dnal.techniques.co_teaching import small_losses
from dnal.techniques.nested_dropout import Nested


@pytest.mark.parametrize(("forget", "count"), [(0.0, 10), (0.2, 8), (0.3, 7), (0.75, 2), (0.9, 1), (0.99, 1)])
def test_the_forgotten_share_are_the_largest_losses(forget: float, count: int) -> None:
    losses = torch.randn(10, generator=torch.Generator().manual_seed(0)).exp()
    found = small_losses(losses, forget)
    assert len(found) == count
    assert found.tolist() == sorted(found.tolist())
    assert set(found.tolist()) == set(losses.argsort()[:count].tolist())


def network(seed: int, *middle: nn.Module) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), *middle, nn.Linear(8, 3))


def batch(size: int = 12) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(9)
    return torch.randn(size, 4, generator=draw), torch.randint(3, (size,), generator=draw)


def test_each_learns_from_what_the_other_chose_on_the_other_half() -> None:
    one, other = network(1), network(2)
    x, y = batch(13)  # the halves are of 7 and 6
    mine, its = co_teach(one, other, (x, y), 0.5)
    first = torch.arange(7)[F.cross_entropy(one(x[:7]), y[:7], reduction="none").argsort()[:3]]
    second = 7 + torch.arange(6)[F.cross_entropy(other(x[7:]), y[7:], reduction="none").argsort()[:3]]
    assert torch.allclose(mine, F.cross_entropy(one(x[second]), y[second]))
    assert torch.allclose(its, F.cross_entropy(other(x[first]), y[first]))
    mine.backward()
    assert all(p.grad is not None for p in one.parameters())
    assert all(p.grad is None for p in other.parameters())
    its.backward()
    assert all(p.grad is not None for p in other.parameters())


def test_they_choose_in_eval_mode_and_learn_in_the_modes_they_had() -> None:
    one, other = network(1, nn.BatchNorm1d(8)), network(2, nn.BatchNorm1d(8), nn.Dropout(0.5))
    other[2].eval()
    with torch.no_grad():
        for each in (one, other):
            each[2].running_mean.normal_()
    seen: list[tuple[bool, bool]] = []
    one.register_forward_hook(lambda module, *_: seen.append((module[2].training, torch.is_grad_enabled())))
    frozen = copy.deepcopy(other[2].state_dict())
    running = one[2].running_mean.clone()
    co_teach(one, other, batch(), 0.2)
    assert seen == [(False, False), (True, True)]
    assert [m.training for m in other.modules()] == [True, True, True, False, True, True]
    assert all(torch.equal(value, frozen[name]) for name, value in other[2].state_dict().items())
    assert not torch.equal(one[2].running_mean, running)


def test_with_nested_dropout_they_choose_by_their_best_k_and_learn_with_one_drawn() -> None:
    one, other = network(1), network(2)
    x, y = batch()
    nested = Nested(one, x[:2], 4.0), Nested(other, x[:2], 4.0)
    nested[0].keep, nested[1].keep = 2, 5
    torch.manual_seed(3)
    k = nested[0].draw()
    torch.manual_seed(3)
    mine, its = co_teach(one, other, (x, y), 0.5, nested=nested)
    for each in nested:
        each.close()

    def few(network: nn.Sequential, rows: Tensor, k: int) -> Tensor:
        features = network[:2](x[rows]) * (torch.arange(8) < k)
        return F.cross_entropy(network[2](features), y[rows], reduction="none")

    first, second = torch.arange(6), torch.arange(6, 12)
    first, second = first[few(one, first, 2).argsort()[:3]], second[few(other, second, 5).argsort()[:3]]
    assert torch.allclose(mine, few(one, second, k).mean())
    assert torch.allclose(its, few(other, first, k).mean())
    assert nested[0].k is None
    assert nested[1].k is None


def test_mappings_and_single_logits_are_batches_too() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.own = network(1)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"logits": self.own(x)}

    x, y = batch()
    one, other = Named(), Named()
    mine, its = co_teach(one, other, {"x": x, "labels": y}, 0.2)
    plain = co_teach(one.own, other.own, (x, y), 0.2)
    assert torch.equal(mine, plain[0])
    assert torch.equal(its, plain[1])
    single = [nn.Linear(4, 1), nn.Linear(4, 1)]
    assert all(bool(loss.isfinite()) for loss in co_teach(single[0], single[1], (x, y % 2), 0.2))


def test_what_cannot_be_halved_is_refused() -> None:
    one, other = network(1), network(2)
    x, y = batch()
    for wrong in ((x[:1], y[:1]), (x, y[:5]), (x, torch.tensor(1))):
        with pytest.raises(UserError, match="two examples or more"):
            co_teach(one, other, wrong, 0.2)
    for share in (-0.1, 1.0, float("nan"), "20%", None, torch.zeros(2)):
        with pytest.raises(UserError, match="the share of examples that is left out"):
            co_teach(one, other, (x, y), share)  # type: ignore[arg-type]


def test_targets_are_classes_of_the_networks() -> None:
    one, other = network(1), network(2)
    x, y = batch()
    expected = co_teach(one, other, (x, y), 0.5)
    assert co_teach(one, other, (x, y.float()), 0.5) == expected, "whole numbers of any type"
    soft = co_teach(one, other, (x, F.one_hot(y, 3).float()), 0.5)
    assert [loss.item() for loss in soft] == pytest.approx([loss.item() for loss in expected])
    for wrong, words in (
        (y + 3, "from 0 to 2"),
        (y - 100, "from 0 to 2"),
        (torch.full_like(y, -100), "not -100"),
        (y + 0.5, "from 0 to 2"),
        (F.one_hot(y, 3), "one class per example"),
        (F.one_hot(y, 3) * 2.0, "probabilities from 0 to 1"),
    ):
        with pytest.raises(UserError, match=words):
            co_teach(one, other, (x, wrong), 0.5)
    single = nn.Linear(4, 1), nn.Linear(4, 1)
    for wrong, words in ((y + 2, "from 0 to 1"), (y + 2.0, "probabilities from 0 to 1")):
        with pytest.raises(UserError, match=words):
            co_teach(*single, (x, wrong), 0.5)
    with pytest.raises(UserError, match="one logit for each example"):
        co_teach(nn.Unflatten(1, (2, 2)), nn.Unflatten(1, (2, 2)), (x, y), 0.5)


def test_a_single_example_in_front_of_batch_norm_is_a_sentence() -> None:
    one, other = network(1, nn.BatchNorm1d(8)), network(2, nn.BatchNorm1d(8))
    with pytest.raises(UserError, match="batch norm needs two or more"):
        co_teach(one, other, batch(4), 0.5)
    for each in (one, other):
        each.eval()
    assert all(bool(loss.isfinite()) for loss in co_teach(one, other, batch(4), 0.5))


def test_wrong_labels_are_left_out_where_the_networks_know_better() -> None:
    """Networks that have seen some correct labels forget the wrong ones of a batch."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(400, 4, generator=draw)
    right = x[:, :3].argmax(1)
    pair = [network(1), network(2)]
    for each in pair:
        optimizer = torch.optim.Adam(each.parameters(), 1e-2)
        for _ in range(150):
            optimizer.zero_grad()
            F.cross_entropy(each(x[:200]), right[:200]).backward()
            optimizer.step()
    wrong = torch.where(torch.arange(200) % 5 == 0, (right[200:] + 1) % 3, right[200:])
    mine, its = co_teach(pair[0], pair[1], (x[200:], wrong), 0.2)
    everyone = F.cross_entropy(pair[0](x[200:]), wrong)
    assert max(mine.item(), its.item()) < 0.5 * everyone.item()
