"""Curves and rebuilding against least squares by hand, and what costs nothing: copies and combinations of others."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import dnal
from dnal.base.errors import UserError
from dnal.repair.statistics import measured
from networks import Attention, Net, conv

TINY = 1e-10
"""A ridge that changes no digit that is looked at."""


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def made(build: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    """In double precision and eval mode, its batch norms with statistics that are not those of new ones."""
    torch.manual_seed(seed)
    network = build().double()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            for tensor in (module.running_mean, module.bias):
                nn.init.uniform_(tensor, -0.5, 0.5)
            for tensor in (module.running_var, module.weight):
                nn.init.uniform_(tensor, 0.5, 1.5)
    return network.eval()


def labels(count: int, classes: int = 3) -> Tensor:
    return torch.arange(count) % classes


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 6), nn.Tanh(), nn.Linear(6, 3))


def forked() -> nn.Module:
    """A stream with two writers and three readers."""

    def compute(n: Net, x: Tensor) -> Tensor:
        stream = n.first(x)
        stream = stream + n.up(n.down(stream.relu()).tanh())
        return n.last(stream) + n.other(stream.relu())

    return Net(
        compute, first=nn.Linear(5, 6), down=nn.Linear(6, 4, bias=False), up=nn.Linear(4, 6), last=nn.Linear(6, 3),
        other=nn.Linear(6, 3, bias=False),
    )  # fmt: skip


def inputs_and_gradients(network: nn.Module, layer: nn.Linear, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """What a linear layer reads, (N, columns), and the mean squared gradient of each example's own loss by its outputs,
    one example at a time."""
    seen: list[Tensor] = []
    handle = layer.register_forward_hook(lambda _, args, out: seen.extend((args[0].detach(), out)))
    squares = torch.zeros(layer.out_features, dtype=torch.float64)
    rows = []
    for i in range(len(x)):
        seen.clear()
        loss = F.cross_entropy(network(x[i : i + 1]), y[i : i + 1])
        squares += torch.autograd.grad(loss, seen[1])[0][0].square() / len(x)
        rows.append(seen[0][0])
    handle.remove()
    return torch.stack(rows), squares


def least(columns: Tensor, weight: Tensor, minded: Tensor, leaving: list[int], *, constant: bool) -> float:
    """1/2 sum_o G_o mean_t (what the leaving channels said, less the best that the others, and a constant, say)^2, by
    numpy's least squares."""
    stay = [i for i in range(columns.size(1)) if i not in leaving]
    wanted = (columns[:, leaving] @ weight[:, leaving].T).numpy()
    given = columns[:, stay].numpy()
    if constant:
        given = np.concatenate((given, np.ones((len(given), 1))), 1)
    if given.shape[1]:
        wanted = wanted - given @ np.linalg.lstsq(given, wanted, rcond=None)[0]
    return float(0.5 * (minded.numpy() * (wanted**2).mean(0)).sum())


def one_by_one(readers: list[tuple[Tensor, Tensor, Tensor, bool]], width: int) -> tuple[list[int], list[float]]:
    """Order and losses by trying every removal with least squares."""
    order: list[int] = []
    losses = [0.0]
    while len(order) < width - 1:
        tried = {
            i: sum(least(x, w, g, [*order, i], constant=c) for x, w, g, c in readers)
            for i in range(width)
            if i not in order
        }
        best = min(tried, key=lambda i: tried[i])
        order.append(best)
        losses.append(tried[best])
    return order, losses


def test_every_step_of_a_curve_is_the_best_that_least_squares_can_do() -> None:
    """The first e of each channel, and the whole curve, equal removals one by one by numpy."""
    network, x, y = made(mlp), drawn(40, 5), labels(40)
    space = dnal.Space.of(network, x[:2])
    found = dnal.repair.curves(network, space, [(x, y)], F.cross_entropy, ridge=TINY)
    assert [curve.group.name for curve in found] == ["0.weight", "2.weight"]
    for curve, layer in zip(found, (network[2], network[4]), strict=True):
        read, minded = inputs_and_gradients(network, layer, x, y)
        order, losses = one_by_one([(read, layer.weight.detach(), minded, True)], curve.group.width)
        assert (curve.order - curve.group.variables[0])[:-1].tolist() == order
        assert curve.losses.tolist() == pytest.approx(losses, rel=1e-5, abs=1e-12)
        assert min(losses[1:]) > 1e-8


def test_the_readers_of_a_stream_add_up_and_those_without_a_constant_rebuild_the_mean_too() -> None:
    network, x, y = made(forked), drawn(50, 5), labels(50)
    space = dnal.Space.of(network, x[:2])
    stream = dnal.repair.curves(network, space, [(x, y)], F.cross_entropy, ridge=TINY)[0]
    assert stream.group.width == 6
    readers = []
    for layer in (network.down, network.last, network.other):
        read, minded = inputs_and_gradients(network, layer, x, y)
        readers.append((read, layer.weight.detach(), minded, layer.bias is not None))
    order, losses = one_by_one(readers, 6)
    assert (stream.order - stream.group.variables[0])[:-1].tolist() == order
    assert stream.losses.tolist() == pytest.approx(losses, rel=1e-5)


def test_more_channels_than_wait_for_one_another() -> None:
    """A group so wide that the matrices are computed anew on the way; half of its channels are fresh ones."""
    network, x, y = made(lambda: nn.Sequential(nn.Linear(90, 90), nn.Linear(90, 3))), drawn(400, 90), labels(400)
    space = dnal.Space.of(network, x[:2])
    (curve,) = dnal.repair.curves(network, space, [(x, y)], F.cross_entropy, ridge=TINY)
    read, minded = inputs_and_gradients(network, network[1], x, y)
    order = (curve.order - curve.group.variables[0]).tolist()
    assert sorted(order) == list(range(90))
    for count in (1, 30, 64, 70, 89):
        expected = least(read, network[1].weight.detach(), minded, order[:count], constant=True)
        assert float(curve.losses[count]) == pytest.approx(expected, rel=1e-5)


def test_what_the_rebuilt_layer_makes_is_what_the_curve_promised() -> None:
    network, x, y = made(mlp), drawn(40, 5), labels(40)
    space = dnal.Space.of(network, x[:2])
    curve = dnal.repair.curves(network, space, [(x, y)], F.cross_entropy, ridge=TINY)[0]
    stays = torch.ones(space.num_gates, dtype=torch.bool)
    stays[curve.order[:3]] = False
    repaired = dnal.repair.rebuilt(network, space, stays, [(x, y)], ridge=TINY)
    read, minded = inputs_and_gradients(network, network[2], x, y)
    error = network[2](read) - repaired[2](read)
    assert float(0.5 * (minded * error.square().mean(0)).sum().detach()) == pytest.approx(
        float(curve.losses[3]), rel=1e-5
    )
    assert torch.equal(repaired(x), dnal.gated(repaired, dnal.Architecture.of(space, stays))(x))


def residual() -> nn.Module:
    def compute(n: Net, x: Tensor) -> Tensor:
        x = n.stem(x)
        x = (x + n.up(n.norm(n.down(x)).relu())).relu()
        return n.last(x).flatten(1)

    return Net(
        compute, stem=conv(3, 6), down=conv(6, 5, bias=False), norm=nn.BatchNorm2d(5), up=conv(5, 6), last=conv(6, 1, 8)
    )


def chain() -> nn.Module:
    return nn.Sequential(
        conv(3, 6, bias=False), nn.BatchNorm2d(6), nn.ReLU(), conv(6, 8, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        nn.AvgPool2d(4), nn.Flatten(), nn.Linear(8 * 4, 3),
    )  # fmt: skip


def grouped() -> nn.Module:
    return nn.Sequential(
        conv(3, 8), nn.ReLU(), conv(8, 12, groups=2), nn.ReLU(), conv(12, 12, groups=12), nn.ReLU(), conv(12, 4, 1),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3),
    )  # fmt: skip


def upwards() -> nn.Module:
    return nn.Sequential(
        conv(3, 6), nn.ReLU(), nn.ConvTranspose2d(6, 5, 2, 2), nn.ReLU(), conv(5, 2), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(2, 3),
    )  # fmt: skip


def attention(fused: bool) -> nn.Module:
    def compute(n: Net, x: Tensor) -> Tensor:
        tokens = n.norm(n.embed(x))
        tokens = tokens + n.inner(tokens)
        return n.last((tokens + n.back(F.gelu(n.hidden(tokens)))).mean(1))

    return Net(
        compute, embed=nn.Linear(5, 16), norm=nn.LayerNorm(16), inner=Attention(fused), hidden=nn.Linear(16, 9),
        back=nn.Linear(9, 16), last=nn.Linear(16, 3),
    )  # fmt: skip


def torchs_attention() -> nn.Module:
    def compute(n: Net, x: Tensor) -> Tensor:
        tokens = n.norm(n.embed(x))
        return n.last(n.inner(tokens, tokens.flip(1), tokens)[0].mean(1))

    inner = nn.MultiheadAttention(16, 4, batch_first=True)
    return Net(compute, embed=nn.Linear(5, 16), norm=nn.LayerNorm(16), inner=inner, last=nn.Linear(16, 3))


def images(count: int = 48) -> Tensor:
    return drawn(count, 3, 8, 8)


def words(count: int = 48) -> Tensor:
    return drawn(count, 7, 5)


def copied(network: nn.Module, space: dnal.Space, one: int, other: int) -> None:
    """Makes a variable's channels those of another one: everything but what reads them is the same."""
    tensors = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    for name, dims in {**space.sources, **space.buffer_sources}.items():
        for dim, ids in enumerate(dims):
            if ids is not None and (name, dim) not in space.readers:
                source, target = (ids == one).nonzero().flatten(), (ids == other).nonzero().flatten()
                with torch.no_grad():
                    tensors[name].index_copy_(dim, target, tensors[name].index_select(dim, source).clone())


NETWORKS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor], int]] = {
    # name: (network, inputs, groups with a curve)
    "mlp": (mlp, lambda: drawn(60, 5), 2),
    "several readers": (forked, lambda: drawn(60, 5), 2),
    "convolutions, batch norm, flatten": (chain, images, 2),
    "residual": (residual, images, 2),
    "grouped and depthwise": (grouped, images, 3),
    "transposed": (upwards, images, 3),
    "heads": (lambda: attention(False), words, 2),
    "fused heads": (lambda: attention(True), words, 2),
    "torch's attention": (torchs_attention, words, 2),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_copy_of_another_channel_costs_nothing_and_its_repair_changes_no_output(name: str) -> None:
    build, given, curves = NETWORKS[name]
    network, x = made(build), given()
    space = dnal.Space.of(network, x[:2])
    batch = (x, labels(len(x)))
    pairs = {group.name: group.variables[:2].tolist() for group in space.groups}
    for one, other in pairs.values():
        copied(network, space, one, other)
    found = dnal.repair.curves(network, space, [batch], F.cross_entropy, ridge=1e-9)
    assert len(found) == curves
    stays = torch.ones(space.num_gates, dtype=torch.bool)
    for curve in found:
        assert int(curve.order[0]) in pairs[curve.group.name], "one of the two is the first to leave"
        if curve.group.width > 2:
            assert float(curve.losses[1]) < 1e-6 * float(curve.losses[-1])
        stays[curve.order[0]] = False
    repaired = dnal.repair.rebuilt(network, space, stays, [batch], ridge=1e-9)
    small = dnal.compact(repaired, dnal.Architecture.of(space, stays))
    unrepaired = dnal.compact(network, dnal.Architecture.of(space, stays))
    with torch.no_grad():
        expected, new = network(x), given() + 0.1
        scale = float(expected.abs().max())
        assert float((small(x) - expected).abs().max()) < 1e-4 * scale
        assert float((small(new) - network(new)).abs().max()) < 1e-4 * scale, "not only where it was measured"
        assert float((unrepaired(x) - expected).abs().max()) > 1e-2 * scale


def test_a_channel_that_is_a_combination_of_others_costs_nothing() -> None:
    def compute(n: Net, x: Tensor) -> Tensor:
        return n.last(n.first(x)).flatten(1)

    network = made(lambda: Net(compute, first=conv(3, 6), last=nn.Conv2d(6, 3, 8, bias=False)))
    with torch.no_grad():
        for tensor in (network.first.weight, network.first.bias):
            tensor[4] = 0.5 * tensor[0] - 2 * tensor[1] + tensor[3]
    x = images()
    space = dnal.Space.of(network, x[:2])
    (curve,) = dnal.repair.curves(network, space, [(x, labels(len(x)))], F.cross_entropy, ridge=1e-9)
    assert float(curve.losses[1]) < 1e-6 * float(curve.losses[2])
    stays = torch.arange(space.num_gates) != curve.order[0]
    repaired = dnal.repair.rebuilt(network, space, stays, [(x, None)], ridge=1e-9)
    with torch.no_grad():
        assert torch.allclose(repaired(x), network(x), atol=1e-4)


def test_the_form_of_kernel_positions_is_near_the_exact_one() -> None:
    """Kernels of 3 x 3: exactly, all columns of the unfolded input take over together. Every kernel position by itself,
    with one covariance of the channels, is no better, and has most of what that wins."""
    network = made(
        lambda: nn.Sequential(conv(3, 8), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    )
    x = F.interpolate(drawn(64, 3, 5, 5), scale_factor=2, mode="bilinear")  # neighbours are alike, as in images
    space = dnal.Space.of(network, x[:2])
    stays = torch.ones(space.num_gates, dtype=torch.bool)
    stays[:3] = False
    repaired = dnal.repair.rebuilt(network, space, stays, [(x, None)], ridge=TINY)
    with torch.no_grad():
        read = network[1](network[0](x))
        columns = F.unfold(read, 3).transpose(1, 2).reshape(-1, 8 * 9)
        weight = network[2].weight.reshape(4, -1)
        ones = torch.ones(4, dtype=torch.float64)
        exact = least(columns, weight, ones, list(range(27)), constant=True)
        mine = float(0.5 * (network[2](read) - repaired[2](read)).square().mean((0, 2, 3)).sum())
        gone = read.clone()
        gone[:, :3] = 0
        lost = network[2](read) - network[2](gone)
        without = float(0.5 * (lost - lost.mean((0, 2, 3), keepdim=True)).square().mean((0, 2, 3)).sum())
    assert exact <= mine * (1 + 1e-9)
    assert mine - exact < 0.5 * (without - exact)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_statistics_are_the_same_for_one_or_many_batches(name: str) -> None:
    build, given, _ = NETWORKS[name]
    network, x = made(build), given()
    y = labels(len(x))
    space = dnal.Space.of(network, x[:2])
    whole = measured(network, space, [(x, y)], F.cross_entropy)
    parts = measured(network, space, [(x[i : i + 7], y[i : i + 7]) for i in range(0, len(x), 7)], F.cross_entropy)
    assert [one.product for one in whole.readers] == [one.product for one in parts.readers]
    assert whole.readers
    for one, other in zip(whole.readers, parts.readers, strict=True):
        assert one.constant == other.constant
        assert torch.allclose(one.moments.mean, other.moments.mean, atol=1e-12)
        assert torch.allclose(one.second(), other.second(), atol=1e-12)
        assert one.minded is not None
        assert torch.allclose(one.minded, other.minded, atol=1e-12)
    assert not whole.unseen


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_may_be_of_other_examples(name: str) -> None:
    build, given, _ = NETWORKS[name]
    network, x, other = made(build), given(), given()
    other = other.flip(0) if other.dtype == torch.long else other.flip(0) * 1.5
    y, others = labels(len(x)), labels(len(other)).flip(0)
    space = dnal.Space.of(network, x[:2])
    mixed = measured(network, space, [(x, y)], F.cross_entropy, graded=[(other, others)])
    here, there = (measured(network, space, [each], F.cross_entropy) for each in ((x, y), (other, others)))
    differ = False
    for one, read, minded in zip(mixed.readers, here.readers, there.readers, strict=True):
        assert torch.equal(one.second(), read.second())
        assert one.minded is not None
        assert minded.minded is not None
        assert read.minded is not None
        assert torch.equal(one.minded, minded.minded)
        differ |= not torch.allclose(read.minded, minded.minded)
    assert differ, "or it would not matter whose they are"


class Counting(nn.Module):
    """Changes its buffer in eval mode too."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return F.dropout(x, 0.5, training=self.training)


def test_the_network_its_buffers_and_everything_random_stay_as_they_are() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(5, 7), nn.BatchNorm1d(7), Counting(), nn.ReLU(), nn.Linear(7, 3)).train()
    network[0].bias.requires_grad_(False)
    x, y = torch.randn(12, 5), labels(12)
    F.cross_entropy(network(x), y).backward()
    space = dnal.Space.of(network, x)
    before = copy.deepcopy(network)
    grads = [None if p.grad is None else p.grad.clone() for p in network.parameters()]
    state, numbers = torch.get_rng_state(), np.random.get_state()[1].copy()
    dnal.repair.curves(network, space, [(x, y)], F.cross_entropy)
    repaired = dnal.repair.rebuilt(network, space, torch.arange(7) > 2, [(x, y)])
    assert torch.equal(torch.get_rng_state(), state)
    assert (np.random.get_state()[1] == numbers).all()
    assert all(torch.equal(v, before.state_dict()[k]) for k, v in network.state_dict().items())
    assert [m.training for m in network.modules()] == [m.training for m in before.modules()]
    assert [p.requires_grad for p in network.parameters()] == [p.requires_grad for p in before.parameters()]
    for parameter, grad in zip(network.parameters(), grads, strict=True):
        assert (parameter.grad is None and grad is None) or torch.equal(parameter.grad, grad)
    assert not x.requires_grad
    assert not torch.equal(repaired[4].weight, network[4].weight)
    assert torch.equal(repaired[4].weight[:, :3], torch.zeros(3, 3))


def test_a_wide_reader_behind_a_flatten_has_one_covariance_for_all_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where positions are alike it is that of all columns; a copy costs nothing in either form."""
    network, x = made(chain), images()
    space = dnal.Space.of(network, x[:2])
    copied(network, space, *space.groups[1].variables[:2].tolist())
    monkeypatch.setattr("dnal.repair.statistics.WIDEST", 30)
    statistics = measured(network, space, [(x, labels(len(x)))], F.cross_entropy)
    assert [one.second().shape[-1] for one in statistics.readers] == [6, 8]
    curve = dnal.repair.curves(network, space, [(x, labels(len(x)))], F.cross_entropy, ridge=1e-9)[1]
    assert float(curve.losses[1]) < 1e-5 * float(curve.losses[2])
    stays = torch.arange(space.num_gates) != curve.order[0]
    repaired = dnal.repair.rebuilt(network, space, stays, [(x, None)], ridge=1e-9)
    with torch.no_grad():
        assert torch.allclose(repaired(x), network(x), atol=1e-4)


def test_dead_channels_leave_first_and_their_mean_stays() -> None:
    network, x = made(mlp), drawn(60, 5)
    with torch.no_grad():
        network[0].weight[[2, 5]] = 0
        network[0].bias[[2, 5]] = torch.tensor([0.7, -1.0], dtype=torch.float64)
    space = dnal.Space.of(network, x[:2])
    curve = dnal.repair.curves(network, space, [(x, labels(60))], F.cross_entropy)[0]
    assert set(curve.order[:2].tolist()) == {2, 5}
    assert bool(curve.losses.isfinite().all())
    stays = torch.ones(space.num_gates, dtype=torch.bool)
    stays[[2, 5]] = False
    repaired = dnal.repair.rebuilt(network, space, stays, [(x, None)])
    with torch.no_grad():
        assert torch.allclose(repaired(x), network(x), atol=1e-6)


def test_a_layer_that_is_read_elsewhere_too_keeps_the_mean_of_its_batch_norm() -> None:
    """What the norm makes good for itself would be lost to the other one."""

    def compute(n: Net, x: Tensor) -> Any:
        y = n.middle(n.first(x).relu())
        return n.last(n.norm(y).relu() + y)

    members = {"first": conv(3, 6), "middle": conv(6, 5, bias=False), "norm": nn.BatchNorm2d(5)}
    network, x = made(lambda: Net(compute, **members, last=conv(5, 3))), images()
    space = dnal.Space.of(network, x[:2])
    statistics = measured(network, space, [(x, None)])
    constants = {one.product.place[0]: one.constant for one in statistics.readers}
    assert constants["middle.weight"] is None
    assert constants["last.weight"] is not None


def test_without_batches_there_is_nothing_to_measure() -> None:
    network, x = made(mlp), drawn(4, 5)
    space = dnal.Space.of(network, x)
    with pytest.raises(UserError, match="no batch"):
        dnal.repair.curves(network, space, [], F.cross_entropy)
    with pytest.raises(UserError, match="another network"):
        dnal.repair.rebuilt(made(forked), space, torch.ones(space.num_gates, dtype=torch.bool), [(x, None)])


def test_what_two_readers_made_by_turns_is_told_apart() -> None:
    """A layer that is called twice has the statistics of both calls."""

    def compute(n: Net, x: Tensor) -> Tensor:
        y = n.first(x).relu()
        return n.last(n.shared(y) + n.shared(y.flip(1)).relu())

    network = made(lambda: Net(compute, first=nn.Linear(5, 6), shared=nn.Linear(6, 6), last=nn.Linear(6, 3)))
    x = drawn(20, 5)
    space = dnal.Space.of(network, x[:2])
    statistics = measured(network, space, [(x, None)])
    counts = {one.product.place[0]: one.moments.count for one in statistics.readers}
    assert all(counts[name] == (40 if name == "shared.weight" else 20) for name in counts)


def test_orders_are_whole() -> None:
    network, x = made(grouped), images()
    space = dnal.Space.of(network, x[:2])
    for curve in dnal.repair.curves(network, space, [(x, labels(len(x)))], F.cross_entropy):
        assert sorted(curve.order.tolist()) == sorted(curve.group.variables.tolist())
        assert all(low <= high for low, high in itertools.pairwise(curve.losses.tolist()))
