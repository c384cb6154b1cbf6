"""The law of k, the mask, every truncation against a loop, the choice of k, and the removal of the rest."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import dnal
from dnal.base.errors import UserError
from dnal.run.writer import RunWriter
from dnal.techniques import TECHNIQUES, truncated
from dnal.techniques.nested_dropout import Nested, NestedDropout, best, chances, each_truncation, unread
from dnal.train.phase import Context, Phase, run_phase


def test_the_law_of_k_is_the_formula() -> None:
    weights = [math.exp(-((k / 7.0) ** 2)) for k in range(1, 41)]
    expected = torch.tensor([one / sum(weights) for one in weights], dtype=torch.float64)
    assert torch.allclose(chances(40, 7.0), expected, atol=1e-15)
    assert chances(5, 1e-3).tolist() == [1.0, 0, 0, 0, 0], "k is never 0"
    for wrong in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(UserError, match="sigma above 0"):
            chances(5, wrong)


class Flow(nn.Module):
    """Its head is not the last module, and has no name of a head."""

    def __init__(self, features: int = 12) -> None:
        super().__init__()
        self.says = nn.Linear(features, 4)
        self.body = nn.Sequential(nn.Linear(6, 10), nn.ReLU(), nn.Linear(10, features), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.says(self.body(x))


def flow() -> Flow:
    torch.manual_seed(0)
    return Flow()


def test_draws_have_the_law() -> None:
    nested = Nested(flow(), torch.randn(2, 6), sigma=4.0)
    torch.manual_seed(1)
    found = torch.bincount(torch.tensor([nested.draw() for _ in range(20_000)]), minlength=13)
    expected = 20_000 * torch.cat([torch.zeros(1), chances(12, 4.0)])
    assert found[0] == 0
    assert float(((found - expected) ** 2 / expected.clamp(min=1)).sum()) < 40, "chi squared of 12"


def test_in_training_the_head_reads_the_first_k_of_every_example_and_nothing_is_scaled() -> None:
    network = flow()
    nested, x = Nested(network, torch.randn(2, 6), sigma=4.0), torch.randn(9, 6)
    assert nested.path == "says"
    plain = copy.deepcopy(network.says)
    plain._forward_pre_hooks.clear()
    for k in (1, 5, 12):
        nested.k = k
        masked = network.body(x) * (torch.arange(12) < k)
        network.zero_grad()
        outputs = network(x)
        assert torch.equal(outputs, plain(masked))
        outputs.sum().backward()
        assert network.says.weight.grad is not None
        assert not network.says.weight.grad[:, k:].any()
    nested.k = None
    outputs = network(x)
    loop = [plain(network.body(x) * (torch.arange(12) < k)) for k in range(1, 13)]
    assert any(torch.equal(outputs, one) for one in loop), "one k for the whole batch"
    network.eval()
    assert torch.equal(network(x), plain(network.body(x))), "all of them in eval mode"
    nested.keep = 3
    assert torch.equal(network(x), loop[2])
    nested.close()
    assert torch.equal(network.train()(x), plain(network.body(x)))
    assert all(not module._forward_pre_hooks for module in network.modules())


def batches(count: int = 5, size: int = 16) -> list[tuple[Tensor, Tensor]]:
    draw = torch.Generator().manual_seed(2)
    return [(torch.randn(size, 6, generator=draw), torch.randint(4, (size,), generator=draw)) for _ in range(count)]


@pytest.mark.parametrize("bias", [True, False])
def test_cumulative_sums_are_a_loop_over_k(bias: bool) -> None:
    torch.manual_seed(3)
    features, weight = torch.randn(20, 12).double(), torch.randn(4, 12).double()
    own = torch.randn(4).double() if bias else None
    found = each_truncation(features, weight, own)
    for k in range(1, 13):
        assert torch.allclose(found[:, k - 1], F.linear(features[:, :k], weight[:, :k], own), atol=1e-12)


def test_the_accuracies_of_all_truncations_are_those_of_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    network = flow().double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_()
    data = [(x.double(), y) for x, y in batches()]
    data[0][1][:3] = -100  # what cross entropy leaves out does not count
    nested = Nested(network, data[0][0][:2])
    expected = []
    for k in range(1, 13):
        nested.keep = k
        with torch.no_grad():
            right = [(network.eval()(x).argmax(1) == y)[y != -100] for x, y in data]
        expected.append(float(torch.cat(right).double().mean()))
    network.train()
    nested.keep = 4
    calls: list[int] = []
    hook = network.register_forward_hook(lambda *_: calls.append(1))
    for at_once in (2**22, 100):
        monkeypatch.setattr("dnal.techniques.nested_dropout.truncation.AT_ONCE", at_once)
        assert nested.accuracies(data).tolist() == pytest.approx(expected, abs=1e-12)
    hook.remove()
    assert len(calls) == 2 * len(data), "one pass"
    assert nested.keep == 4
    assert network.training
    assert len(set(expected)) > 3


def test_the_best_k_pays_for_every_feature() -> None:
    accuracies = torch.tensor([0.3, 0.8, 0.800005, 0.80004, 0.7], dtype=torch.float64)
    assert best(accuracies) == 4
    assert best(accuracies - torch.tensor([0, 0, 0, 3e-5, 0])) == 2, "1e-5 is what a feature costs"


def test_settling_leaves_the_columns_of_k_features() -> None:
    network, data = flow(), batches()
    nested = Nested(network, data[0][0][:2])
    accuracies = nested.accuracies(data)
    k = nested.settle(data)
    nested.close()
    assert k == best(accuracies) < 12
    assert not network.says.weight[:, k:].any()
    with torch.no_grad():
        right = torch.cat([network.eval()(x).argmax(1) == y for x, y in data])
    assert float(right.double().mean()) == pytest.approx(float(accuracies[k - 1]))
    with pytest.raises(UserError, match="no example"):
        nested.accuracies([])


def test_what_has_no_features_is_refused() -> None:
    x = torch.randn(3, 6)
    for wrong in (
        nn.Sequential(flow(), nn.Softmin(1)),  # what it returns is not in the order of the logits
        nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 1)),
        nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 1), nn.Flatten(0)),
    ):
        with pytest.raises(UserError, match="leave it out"):
            Nested(wrong, x)
        assert all(not module._forward_pre_hooks and not module._forward_hooks for module in wrong.modules())
    with pytest.raises(UserError, match="features are \\(N, F\\)"):
        Nested(nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3)), torch.randn(2, 5, 6))
    Nested(nn.Sequential(flow(), nn.LogSoftmax(1)), x).close()


def cut(network: nn.Module, path: str, k: int) -> nn.Module:
    """By hand: all columns after the first k are 0."""
    other = copy.deepcopy(network)
    with torch.no_grad():
        other.get_submodule(path).weight[:, k:] = 0  # type: ignore[operator, index, union-attr]
    return other


def test_a_truncated_network_is_smaller_and_computes_the_same() -> None:
    network, x = flow().eval(), torch.randn(7, 6)
    before = copy.deepcopy(network.state_dict())
    small = truncated(network, dnal.Space.of(network, x), 5)
    assert (small.says.in_features, small.body[2].out_features, small.body[0].out_features) == (5, 5, 10)
    assert small.says.weight.shape == (4, 5)
    assert type(small) is Flow
    assert torch.allclose(small(x), cut(network, "says", 5)(x), atol=1e-6)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert truncated(network, dnal.Space.of(network, x), 12).says.in_features == 12
    for wrong in (0, 13):
        with pytest.raises(UserError, match="from 1 to that"):
            truncated(network, dnal.Space.of(network, x), wrong)


def test_of_a_flattened_image_whole_channels_leave_and_the_rest_is_zero() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(80, 3)
    ).eval()
    x = torch.randn(4, 1, 8, 8)
    with pytest.warns(UserWarning, match="8 of the 40 columns of '6' that were truncated are 0 and stay"):
        small = truncated(network, dnal.Space.of(network, x), 40)
    assert (small[3].out_channels, small[6].in_features) == (3, 48)
    assert torch.allclose(small(x), cut(network, "6", 40)(x), atol=1e-5)


class Residual(nn.Module):
    """Features of a stream, which a block reads before the head does."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.one, self.two, self.head = nn.Linear(6, 8), nn.Linear(8, 5), nn.Linear(5, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        return self.head(x + self.two(self.one(x).relu()))


def test_features_that_others_read_stay_and_this_is_told() -> None:
    torch.manual_seed(0)
    network, x = Residual().eval(), torch.randn(4, 6)
    with pytest.warns(UserWarning, match="5 of the 5 columns of 'head'"):
        found = truncated(network, dnal.Space.of(network, x), 3)
    assert found.head.in_features == 8
    assert torch.equal(found(x), cut(network, "head", 3)(x))
    with torch.no_grad():  # where the others read them with 0, they may leave
        network.one.weight[:, 5:] = 0
    with pytest.warns(UserWarning, match="2 of the 5 columns of 'head'"):
        found = truncated(network, dnal.Space.of(network, x), 3)
    assert found.head.in_features == 5
    assert torch.allclose(found(x), cut(network, "head", 3)(x), atol=1e-6)


def test_what_is_not_read_is_told_of_the_last_layer_alone() -> None:
    network = flow()
    with torch.no_grad():
        network.says.weight[:, [2, 7]] = 0
        network.body[2].weight[:, 4] = 0  # another layer's
    space = dnal.Space.of(network, torch.randn(2, 6))
    found = unread(network, space)
    ids = space.sources["says.weight"][1]
    assert ids is not None
    assert sorted(found.nonzero().flatten().tolist()) == sorted(ids[[2, 7]].tolist())


def test_a_layer_that_reads_nothing_yet_loses_nothing() -> None:
    """Some networks begin with a classifier of zeros."""
    network = flow().eval()
    nn.init.zeros_(network.says.weight)
    space = dnal.Space.of(network, torch.randn(2, 6))
    assert not unread(network, space).any()
    with pytest.warns(UserWarning, match="7 of the 7 columns"):
        assert truncated(network, space, 5).says.in_features == 12


def phase(network: nn.Module, *techniques: Any, val: Any = None, epochs: int = 2) -> list[dict[str, Any]]:
    x, y = (torch.cat(each) for each in zip(*batches(), strict=True))
    history: list[dict[str, Any]] = []
    loader = DataLoader(TensorDataset(x, y), 16)
    around = Context(Fabric(accelerator="cpu", devices=1), loader, F.cross_entropy, history=history, val=val)
    run_phase(Phase("retrain", epochs, 0.05, techniques=techniques), network, around)
    return history


@pytest.mark.parametrize("others", [(), ("ema",), ("weight-compander",), ("swa:start=0.2",)])
def test_at_the_end_of_a_phase_the_columns_of_the_best_k_are_left(others: tuple[str, ...]) -> None:
    """Of the weights that leave it, whatever other techniques make of them, in whatever order they were named."""
    for before in (True, False):
        network = flow()
        more = [TECHNIQUES.read(other) for other in others]
        own = NestedDropout(sigma=3)
        torch.manual_seed(4)
        history = phase(network, *([own, *more] if before else [*more, own]), val=batches(3))
        k = int(network.says.weight.any(0).sum())
        assert 1 <= k < 12
        assert bool(network.says.weight[:, :k].any(0).all())
        assert all(1 <= record["features"] <= 12 for record in history)
        if not others:
            assert history[-1]["features"] == k
        nested = Nested(network, torch.randn(2, 6))
        accuracies = nested.accuracies(batches(3))
        assert float(accuracies[k - 1]) == float(accuracies[-1])
        assert best(accuracies) == k
        assert type(network.says.weight) is nn.Parameter


def test_without_validation_data_all_stay_and_this_is_told() -> None:
    network = flow()
    with pytest.warns(UserWarning, match="there are none: all stay"):
        history = phase(network, NestedDropout())
    assert bool(network.says.weight.any(0).all())
    assert "features" not in history[-1]


def test_early_features_matter_most_after_training() -> None:
    draw = torch.Generator().manual_seed(5)
    x = torch.randn(400, 6, generator=draw)
    y = (x[:, 0] > 0).long() + 2 * (x[:, 1] > 0).long()
    found = {}
    for techniques in ((NestedDropout(sigma=2.0),), ()):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(6, 12), nn.Linear(12, 4))
        loader = DataLoader(TensorDataset(x, y), 40, shuffle=True, generator=torch.Generator().manual_seed(0))
        around = Context(Fabric(accelerator="cpu", devices=1), loader, F.cross_entropy, val=[(x, y)])
        run_phase(Phase("base", 12, 0.1, techniques=techniques), network, around)
        found[len(techniques)] = Nested(network, x[:2]).accuracies([(x, y)])
    assert float(found[1][2]) > 0.85
    assert float(found[1][:3].mean()) > float(found[0][:3].mean()) + 0.1


JOB = {
    "model": "mine:narrow", "weights": None, "data": "digits", "root": None, "limit_train": None, "batch_size": 48,
    "workers": 0, "seed": 0,
}  # fmt: skip


def narrow() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10),
    )  # fmt: skip


def test_what_a_job_leaves_is_narrower_and_its_run_folder_loads(tmp_path: Path) -> None:
    data = dnal.data.loaders(dnal.data.load("digits", limit_train=192), 48)
    writer = RunWriter(tmp_path / "run", {**JOB, "input": [1, 8, 8], "classes": 10})
    learned = dnal.learn(
        narrow(), data.train, data.val, budget="macs<=90%", techniques=["nested-dropout:sigma=2"], epochs=(1, 1, 1),
        method="uniform", listener=writer,
    )  # fmt: skip
    network, k = learned.network, learned.history[-1]["features"]
    assert network[8].in_features == network[3].out_channels == k < 7, "fewer than the budget leaves"
    assert bool(network[8].weight.any(0).all()), "no column of 0 is left"
    assert learned.change.left("8.weight") == (10, k)
    shapes = {name: value.shape for name, value in learned.change.outline(narrow()).state_dict().items()}
    assert shapes == {name: value.shape for name, value in network.state_dict().items()}
    assert learned.figures.compact.costs["params"] == sum(p.numel() for p in network.parameters())
    loaded, x = dnal.load(tmp_path / "run", network=narrow()), torch.randn(2, 1, 8, 8)
    assert torch.equal(loaded(x), network(x))


def test_a_stream_keeps_its_width_and_its_columns_are_zero() -> None:
    data = dnal.data.loaders(dnal.data.load("digits", limit_train=96), 48)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 6), Residual(), nn.Linear(3, 10)).eval()
    network[2].head, network[3] = nn.Linear(8, 10), nn.Identity()
    learned = dnal.learn(
        network, data.train, data.val, budget="macs<=95%", techniques=["nested-dropout:sigma=1"], epochs=(0, 0, 1),
        method="uniform",
    )  # fmt: skip
    k = learned.history[-1]["features"]
    head = learned.network[2].head
    assert head.in_features > k
    assert not head.weight[:, k:].any()
