"""Recurrent layers: hidden, projected and input channels leave, and what comes out is an ordinary layer of torch."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.utils.data import DataLoader, TensorDataset

import dnal
from dnal.costs.memory import memory_cost, peak_memory
from dnal.export import to_onnx
from independent import assert_exact, coin_flips, difference, randomise, run, zero_twin
from networks import Net

WIDTH, HIDDEN = 8, 12


def sequences(batch: int = 2, steps: int = 7, width: int = 5) -> Tensor:
    return torch.randn(batch, steps, width)


def words(batch: int = 2, steps: int = 7) -> Tensor:
    return torch.randint(20, (batch, steps))


class Classifier(nn.Module):
    def __init__(self, layer: nn.RNNBase) -> None:
        super().__init__()
        shown = (layer.proj_size or layer.hidden_size) * (1 + layer.bidirectional)
        self.first, self.layer, self.last = nn.Linear(5, WIDTH), layer, nn.Linear(shown, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.layer(self.first(x).relu())[0][:, -1])


def classifier(layer: nn.RNNBase) -> nn.Module:
    return randomise(Classifier(layer)).eval()


KINDS = {nn.LSTM: 4, nn.GRU: 3, nn.RNN: 1}
FORMS: list[tuple[type[nn.RNNBase], dict[str, Any]]] = [
    (kind, options)
    for kind in KINDS
    for options in (
        {"bias": False},
        {"num_layers": 2},
        {"num_layers": 2, "bidirectional": True, "dropout": 0.3},
        {"num_layers": 2, "bidirectional": True, "proj_size": 5},
    )
    if kind is nn.LSTM or "proj_size" not in options
]


def layer_of(kind: type[nn.RNNBase], options: dict[str, Any]) -> nn.RNNBase:
    torch.manual_seed(0)
    return kind(WIDTH, HIDDEN, batch_first=True, **options)


def by_hand(layer: nn.RNNBase, steps: int) -> int:
    """MACs of one sequence: every matrix once a step, per depth and direction."""
    directions, hidden = 1 + layer.bidirectional, layer.hidden_size
    shown = layer.proj_size or hidden
    rows = KINDS[type(layer)] * hidden
    inputs = [layer.input_size, *[directions * shown] * (layer.num_layers - 1)]
    projection = shown * hidden if layer.proj_size else 0
    return steps * directions * sum(rows * (width + shown) + projection for width in inputs)


@pytest.mark.parametrize(("kind", "options"), FORMS)
def test_a_layer_loses_channels_of_all_depths_and_directions(kind: type[nn.RNNBase], options: dict[str, Any]) -> None:
    network = classifier(layer_of(kind, options))
    projected = options.get("proj_size", 0)
    for seed, inputs in enumerate((sequences(), sequences(3, 4))):  # batches and lengths
        space = dnal.Space.of(network, inputs)
        assert [group.width for group in space.groups] == (
            [WIDTH, projected, HIDDEN - projected] if projected else [WIDTH, HIDDEN]
        )
        assert not space.unknown
        assert not space.helped
        assert space.removable_share == 1
        architecture = coin_flips(space, seed)
        small: Any = assert_exact(network, inputs, space, architecture)
        others = sequences(4, 9)
        assert difference(run(zero_twin(network, space, architecture.open), others), run(small, others)) <= 1e-4
        ends = 5 * small.layer.input_size * inputs.size(1) + small.last.weight.numel()
        expected = by_hand(small.layer, inputs.size(1)) + ends
        assert dnal.macs(small, inputs) == space.cost_of(architecture.open)["macs"] == expected


@pytest.mark.parametrize(("kind", "options"), FORMS)
def test_what_comes_out_is_an_ordinary_layer(kind: type[nn.RNNBase], options: dict[str, Any]) -> None:
    network = classifier(layer_of(kind, options))
    space = dnal.Space.of(network, sequences())
    small: Any = dnal.compact(network, dnal.Architecture.random(space, 0.5))
    layer = small.layer
    assert type(layer) is kind
    assert layer.hidden_size < HIDDEN
    projected = {"proj_size": layer.proj_size} if "proj_size" in options else {}
    fresh = kind(layer.input_size, layer.hidden_size, batch_first=True, **{**options, **projected}).eval()
    fresh.load_state_dict(layer.state_dict())
    x = sequences(width=layer.input_size)
    assert difference(run(layer, x), run(fresh, x)) == 0

    again = dnal.Space.of(small, sequences())
    assert [group.places for group in again.groups] == [group.places for group in space.groups]
    assert_exact(small, sequences(), again, coin_flips(again, 2))

    twin = copy.deepcopy(small).train()  # dropout between the layers draws
    before = run(small, sequences())
    optimizer = torch.optim.SGD(twin.parameters(), 0.1)
    twin(sequences()).square().sum().backward()
    assert all(p.grad is not None for p in twin.parameters())
    assert all(p.grad is None for p in small.parameters())
    optimizer.step()
    assert before[0].shape == run(small, sequences())[0].shape


@pytest.mark.parametrize(("kind", "options"), FORMS)
def test_the_space_does_not_depend_on_how_a_device_runs_it(kind: type[nn.RNNBase], options: dict[str, Any]) -> None:
    network = classifier(layer_of(kind, options))
    fused = dnal.Space.of(network, sequences())
    with torch.backends.mkldnn.flags(enabled=False):
        stepwise = dnal.Space.of(network, sequences())
    assert [g.places for g in fused.groups] == [g.places for g in stepwise.groups]
    assert fused.readers == stepwise.readers
    for seed in range(2):
        assert fused.cost_of(coin_flips(fused, seed).open) == stepwise.cost_of(coin_flips(fused, seed).open)


@pytest.mark.parametrize(("kind", "options"), FORMS)
def test_memory_is_that_of_the_compact_layer(kind: type[nn.RNNBase], options: dict[str, Any]) -> None:
    network = classifier(layer_of(kind, options))
    space = dnal.Space.of(network, sequences())
    cost = memory_cost(network, space, sequences(), 2)
    architecture = coin_flips(space, 1)
    assert float(cost(torch.ones(space.num_gates))) == peak_memory(network, sequences())
    assert float(cost(architecture.open)) == peak_memory(dnal.compact(network, architecture), sequences())


def with_zeros(make: Callable[[Net, Tensor], Tensor], kind: type[nn.RNNBase]) -> Net:
    """A layer that the user's code starts with zeros."""

    def compute(n: Net, x: Tensor) -> Tensor:
        zeros = make(n, x)
        return n.last(n.layer(x, (zeros, zeros) if kind is nn.LSTM else zeros)[0][:, -1])

    network = Net(compute, layer=kind(5, HIDDEN, 2, batch_first=True), last=nn.Linear(HIDDEN, 4))
    network.hidden_size = HIDDEN
    return network


def cells(n: Net, x: Tensor) -> Tensor:
    h, c = torch.zeros(len(x), n.hidden), x.new_zeros((len(x), n.hidden))
    state, outputs = None, []
    for step in range(x.size(1)):
        h, c = n.first(x[:, step], (h, c))
        state = n.second(h, state)
        outputs.append(n.last(n.third(state)))
    return torch.stack(outputs, 1)


def cell_network() -> Net:
    network = Net(
        cells,
        first=nn.LSTMCell(5, HIDDEN),
        second=nn.GRUCell(HIDDEN, 10),
        third=nn.RNNCell(10, 6),
        last=nn.Linear(6, 4),
    )
    network.hidden = HIDDEN
    return network


def translator() -> Net:
    def compute(n: Net, source: Tensor, target: Tensor) -> Tensor:
        state = n.encoder(n.words(source))[1]
        return n.last(n.decoder(n.words(target), state)[0])

    layers = {name: nn.LSTM(WIDTH, HIDDEN, batch_first=True) for name in ("encoder", "decoder")}
    return Net(compute, words=nn.Embedding(20, WIDTH), last=nn.Linear(HIDDEN, 20), **layers)


def packed() -> Net:
    def compute(n: Net, ids: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        rows = pack_padded_sequence(n.words(ids), lengths, batch_first=True, enforce_sorted=False)
        rows, (state, _) = n.layer(rows)
        return n.last(pad_packed_sequence(rows, batch_first=True)[0]), n.last(torch.cat((state[0], state[1]), 1))

    layer = nn.LSTM(WIDTH, HIDDEN, batch_first=True, bidirectional=True)
    return Net(compute, words=nn.Embedding(20, WIDTH), layer=layer, last=nn.Linear(2 * HIDDEN, 4))


def directions_apart(n: Net, x: Tensor) -> Tensor:
    out, state = n.layer(x)
    out = out.view(x.size(0), x.size(1), 2, HIDDEN).sum(2)
    state = state.view(2, 2, x.size(0), HIDDEN)
    return n.last(out[:, -1] + state[-1].sum(0))


def residual(n: Net, x: Tensor) -> Tensor:
    x = n.first(x)
    return n.last(x + n.layer(x)[0])


def learnt_start(n: Net, x: Tensor) -> Tensor:
    return n.last(n.layer(x, n.start.expand(-1, len(x), -1).contiguous())[0])


IN_USE: dict[str, tuple[Callable[[], Net], list[int], Any, Any]] = {
    "zeros of an attribute": (
        lambda: with_zeros(lambda n, x: torch.zeros(2, x.size(0), n.hidden_size).to(x.device), nn.LSTM),
        [HIDDEN],
        sequences(),
        sequences(3, 9),
    ),
    "zeros of a literal": (
        lambda: with_zeros(lambda n, x: torch.zeros((2, len(x), HIDDEN)), nn.GRU),
        [HIDDEN],
        sequences(),
        sequences(3, 9),
    ),
    "zeros like the input": (
        lambda: with_zeros(lambda n, x: x.new_zeros(2, len(x), HIDDEN), nn.RNN),
        [HIDDEN],
        sequences(),
        sequences(3, 9),
    ),
    "cells in a loop": (cell_network, [HIDDEN, 10, 6], sequences(), sequences(3, 9)),
    "an encoder's state": (translator, [WIDTH, HIDDEN], (words(), words(2, 4)), (words(3), words(3, 9))),
    "packed sequences": (
        packed,
        [WIDTH, HIDDEN],
        (words(3), torch.tensor([3, 7, 5])),
        (words(2, 5), torch.tensor([4, 5])),
    ),
    "directions taken apart": (
        lambda: Net(
            directions_apart,
            layer=nn.GRU(5, HIDDEN, 2, batch_first=True, bidirectional=True),
            last=nn.Linear(HIDDEN, 4),
        ),
        [HIDDEN],
        sequences(),
        sequences(3, 9),
    ),
    "a residual sum": (
        lambda: Net(
            residual,
            first=nn.Linear(5, HIDDEN),
            layer=nn.LSTM(HIDDEN, HIDDEN, batch_first=True),
            last=nn.Linear(HIDDEN, 4),
        ),
        [HIDDEN],
        sequences(),
        sequences(3, 9),
    ),
    "a learnt start": (
        lambda: Net(
            learnt_start,
            start=nn.Parameter(torch.randn(1, 1, HIDDEN)),
            layer=nn.GRU(5, HIDDEN, batch_first=True),
            last=nn.Linear(HIDDEN, 4),
        ),
        [HIDDEN],
        sequences(),
        sequences(3, 9),
    ),
    "positions first, a sequence alone": (
        lambda: Net(lambda n, x: n.last(n.layer(x)[0]), layer=nn.LSTM(5, HIDDEN), last=nn.Linear(HIDDEN, 4)),
        [HIDDEN],
        torch.randn(7, 5),
        torch.randn(9, 5),
    ),
}


@pytest.mark.parametrize("name", IN_USE)
def test_in_use(name: str) -> None:
    build, widths, inputs, others = IN_USE[name]
    torch.manual_seed(0)
    network = randomise(build()).eval()
    space = dnal.Space.of(network, inputs)
    assert [group.width for group in space.groups] == widths
    for seed in range(2):
        architecture = coin_flips(space, seed)
        small = assert_exact(network, inputs, space, architecture)
        assert difference(run(zero_twin(network, space, architecture.open), others), run(small, others)) <= 1e-4


@pytest.mark.parametrize("given", ["an input", "noise", "weights that are computed"])
def test_what_does_not_follow_keeps_the_channels(given: str) -> None:
    layer = nn.GRU(5, HIDDEN, batch_first=True)
    if given == "weights that are computed":
        layer = nn.utils.parametrizations.spectral_norm(layer, "weight_hh_l0")

    def compute(n: Net, x: Tensor, state: Tensor | None = None) -> Tensor:
        if given == "noise":
            state = torch.randn(1, len(x), HIDDEN)
        return n.last(n.middle(n.layer(x, state)[0]))

    network = Net(compute, layer=layer, middle=nn.Linear(HIDDEN, 6), last=nn.Linear(6, 4)).eval()
    inputs = (sequences(), torch.randn(1, 2, HIDDEN)) if given == "an input" else sequences()
    space = dnal.Space.of(network, inputs)
    assert [group.width for group in space.groups] == [6]
    reasons = {fixed.reason for fixed in space.fixed if fixed.name.startswith("layer.")}
    assert given == "weights that are computed" or any("starts with" in reason for reason in reasons)


class Started(nn.Module):
    """The code starts the layer itself, with a literal."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.last = nn.GRU(5, HIDDEN, batch_first=True), nn.Linear(HIDDEN, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.layer(x, torch.zeros(1, x.size(0), HIDDEN))[0][:, -1])


def test_a_literal_is_corrected_in_an_exported_network_too(tmp_path: Path) -> None:
    network = randomise(Started()).eval()
    space = dnal.Space.of(network, sequences())
    assert space.helped == [""]
    written = to_onnx(dnal.compact(network, coin_flips(space, 0)), sequences(), tmp_path / "m.onnx")
    assert written.difference < 1e-5


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_learn(kind: type[nn.RNNBase], tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = classifier(kind(WIDTH, 16, batch_first=True))
    x = torch.randn(96, 6, 5)
    data = DataLoader(TensorDataset(x, (x[:, -1, 0] > 0).long()), 32)
    found = dnal.learn(network, data, data, budget="macs<=50%", epochs=(4, 2, 2), seed=0)
    small: Any = found.network
    assert type(small.layer) is kind
    assert small.layer.hidden_size < 16
    assert dnal.macs(small, x[:2]) <= 0.5 * dnal.macs(network, x[:2])
    assert to_onnx(small.eval(), x[:2], tmp_path / "m.onnx").difference < 1e-5


def test_the_operations_of_a_recurrent_layer_have_its_channels() -> None:
    """Memory and latency are counted on them, however a device runs the layer."""
    network = nn.Sequential(Last(nn.LSTM(12, 6, batch_first=True, bidirectional=True)), nn.Linear(12, 3))
    space = dnal.Space.of(network, torch.randn(2, 5, 12), probe=False)
    (joined,) = (one.outputs[0] for one in space.operations if one.name == "cat")
    assert joined.sides[-1] is not None
    assert joined.sides[-1].tolist() == 2 * list(range(6))


class Last(nn.Module):
    """The mean of what a recurrent layer gives."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)[0].mean(1)  # type: ignore[no-any-return]
