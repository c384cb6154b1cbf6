"""Discovery and synthesis: groups, the balanced draw, the head that the trace finds, the features that are found."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import dnal
from dnal.base.errors import UserError
from dnal.techniques import rich_features
from dnal.techniques.rich import balanced, groups_of, last_linear, nll, worst_group
from dnal.techniques.rich.features import predicted


def test_groups_are_what_each_network_had_right_and_wrong() -> None:
    right = torch.tensor([[1, 1, 0, 0], [1, 0, 1, 1]]).bool()
    expected = [[1, 1, 0, 0], [0, 0, 1, 1], [1, 0, 1, 1], [0, 1, 0, 0]]
    assert groups_of(right).long().tolist() == expected


def test_the_worst_group_counts_alone() -> None:
    losses = torch.tensor([1.0, 2.0, 3.0, 8.0], requires_grad=True)
    groups = torch.tensor([[1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 0, 0], [1, 0, 0, 1]]).bool()
    found = worst_group(losses, groups)
    assert float(found.detach()) == 5.5
    found.backward()
    assert losses.grad is not None
    assert losses.grad.tolist() == [0, 0, 0.5, 0.5]
    with pytest.raises(UserError, match="no group has an example"):
        worst_group(losses, torch.zeros(2, 4).bool())


def test_the_draw_is_balanced() -> None:
    right = torch.zeros(2, 100).bool()
    right[:, :60] = True
    right[0, 60:64] = True  # 4 of 100 on which they do not agree, 36 that both have wrong
    drawn = balanced(right, 1001, torch.Generator().manual_seed(0))
    assert len(drawn) == 1001
    differ = (drawn >= 60) & (drawn < 64)
    assert int(differ.sum()) == 501
    assert set(drawn[differ].tolist()) == {60, 61, 62, 63}
    assert len(set(drawn[~differ].tolist())) > 90
    assert len(balanced(torch.ones(2, 10).bool(), 7)) == 7


class Flow(nn.Module):
    """Its head is neither called last nor the module of that name."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.says = nn.Linear(8, classes)
        self.head = nn.Sequential(nn.Linear(8, 8), nn.ReLU())
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.says(self.head(self.body(x))).squeeze(1)


def test_the_last_linear_layer_is_found_by_the_trace() -> None:
    x = torch.randn(2, 1, 4, 4)
    assert last_linear(Flow(), x) == "says"
    assert last_linear(Flow(1), x) == "says"
    torch.manual_seed(0)
    resnet = dnal.models.create("cifar/resnet20", input_shape=(3, 16, 16))
    name = last_linear(resnet, torch.randn(2, 3, 16, 16))
    assert resnet.get_submodule(name).out_features == 10
    with pytest.raises(UserError, match="Let the network end with"):
        last_linear(nn.Sequential(nn.Linear(4, 4), nn.Unflatten(1, (1, 4)), nn.Conv1d(1, 2, 3)), torch.randn(2, 4))
    twice = nn.Linear(4, 4)
    with pytest.raises(UserError, match="runs once"):
        last_linear(nn.Sequential(twice, nn.ReLU(), twice), torch.randn(2, 4))


def two_features(count: int = 600) -> tuple[Tensor, Tensor]:
    """Feature 0 is right in 80 of 100 examples and easy, feature 1 in 75 of 100 and small; (N, 1, 4, 4), (N,)."""
    draw = torch.Generator().manual_seed(0)
    y = torch.randint(2, (count,), generator=draw)
    first, second = (
        torch.where(torch.rand(count, generator=draw) < share, y, 1 - y) * 2.0 - 1 for share in (0.8, 0.75)
    )
    x = 0.1 * torch.randn(count, 16, generator=draw)
    x[:, 0], x[:, 1] = 3 * first, second
    return x.reshape(count, 1, 4, 4), y


@pytest.mark.parametrize("outputs", [1, 2])
def test_the_second_round_finds_the_other_feature_and_the_synthesis_holds_both(outputs: int) -> None:
    x, y = two_features()
    before = torch.get_rng_state()
    found = rich_features(lambda: Flow(outputs), (x, y), lr=5e-3, first=60, steps=200, synthesis=300, l2=1e-4)
    assert torch.equal(torch.get_rng_state(), before)
    signs = [(x.flatten(1)[:, n] > 0).long() for n in (0, 1)]
    agrees = [[float((word == sign).double().mean()) for sign in signs] for word in found.predictions]
    assert agrees[0][0] > 0.95, "the easy one"
    assert agrees[1][1] > agrees[1][0] + 0.1, "the other one"
    assert torch.equal(found.right, found.predictions == y)

    features: list[Tensor] = []
    hook = found.network.get_submodule(found.path).register_forward_pre_hook(lambda _, args: features.append(args[0]))
    with torch.no_grad():
        logits = found.network(x)
        hook.remove()
        said = [head(features[0]) for head in found.heads]
    for own, word in zip(said, found.predictions, strict=True):
        answer = (own.squeeze(1) > 0).long() if outputs == 1 else own.argmax(1)
        assert float((answer == word).double().mean()) > 0.9, "each head says what its round said"
    assert torch.allclose(torch.stack(said).mean(0).squeeze(1), logits, atol=1e-5), "the mean of the heads"
    assert type(found.network) is Flow
    assert all(not m._forward_pre_hooks for m in found.network.modules())


def test_a_round_descends_on_the_worst_group() -> None:
    """One step, against Adam on the formula written out."""
    x, y = two_features(40)
    found = rich_features(Flow, (x, y), first=3, steps=1, synthesis=0, seed=5)
    torch.manual_seed(6)
    network = Flow()
    optimizer = torch.optim.Adam(network.parameters(), 5e-4)
    losses, right = nll(network(x), y), found.right[0]
    squares = sum(parameter.square().sum() for parameter in network.parameters())
    (max(losses[right].mean(), losses[~right].mean()) + 1.1e-3 * squares).backward()
    optimizer.step()
    assert all(
        torch.allclose(one, other, atol=1e-6)
        for one, other in zip(found.rounds[1].parameters(), network.parameters(), strict=True)
    )


def test_batches_and_seeds() -> None:
    data = two_features(64)
    first, again, other = (
        rich_features(Flow, data, 3, first=5, steps=5, synthesis=5, batch_size=16, seed=seed) for seed in (1, 1, 2)
    )
    assert torch.equal(first.network.says.weight, again.network.says.weight)
    assert not torch.equal(first.network.says.weight, other.network.says.weight)
    assert len(first.rounds) == len(first.heads) == len(first.worst) == 3
    assert torch.equal(predicted(first.rounds[2], data[0]), first.predictions[2])


def test_where_all_is_right_the_rounds_end_and_say_so() -> None:
    x, y = two_features(64)
    x[:, 0, 0, 0] = 4.0 * y - 2
    with pytest.warns(UserWarning, match="the rounds end"):
        found = rich_features(Flow, (x, y), 3, first=200, steps=5, synthesis=5, lr=1e-2)
    assert len(found.rounds) == 1


def test_what_has_no_class_per_example_is_refused() -> None:
    x, y = two_features(8)
    for wrong in ((x, y[:4]), (x, torch.stack([y, y], 1))):
        with pytest.raises(UserError, match="one class per example"):
            rich_features(Flow, wrong)
    with pytest.raises(UserError, match="1 round or more"):
        rich_features(Flow, (x, y), 0)


def test_a_network_that_is_not_new_each_time_is_refused() -> None:
    data, one = two_features(8), Flow()
    with pytest.raises(UserError, match="new ones: let it build the network anew"):
        rich_features(lambda: one, data, first=1, steps=1, synthesis=1)
    with pytest.raises(UserError, match="a function that returns a new network"):
        rich_features(one, data)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="returns a network with weights"):
        rich_features(nn.ReLU, data)


def test_targets_that_the_network_has_no_output_for_are_refused_and_whole_floats_are_classes() -> None:
    x = torch.randn(8, 4)
    y = torch.arange(8) % 3

    def make() -> nn.Module:
        return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))

    short = {"first": 2, "steps": 2, "synthesis": 2}
    for wrong in (y + 1, y - 1, y + 0.5):
        with pytest.raises(UserError, match="classes from 0 to 2"):
            rich_features(make, (x, wrong), **short)  # type: ignore[arg-type]
    floats, whole = (rich_features(make, (x, targets), **short) for targets in (y.double(), y))  # type: ignore[arg-type]
    assert torch.equal(floats.predictions, whole.predictions)
    assert torch.equal(floats.network[0].weight, whole.network[0].weight)  # type: ignore[index]


def test_what_ends_in_no_number_is_refused() -> None:
    x, y = two_features(8)
    with pytest.raises(UserError, match="infinite or NaN; take a smaller lr"):
        rich_features(Flow, (x * float("nan"), y), first=1)
    for wrong in ({"lr": -1.0}, {"lr": float("nan")}, {"batch_size": 0}):
        with pytest.raises(UserError, match="lr is a number above 0"):
            rich_features(Flow, (x, y), **wrong)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="a pair of inputs and targets"):
        rich_features(Flow, [(x, y)])  # type: ignore[arg-type]
