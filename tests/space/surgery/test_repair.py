"""Numbers in a network's code: corrected as attributes where a module remembers them, else in the call."""

import copy
import io
import json
import pickle
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import dnal
from dnal.space.surgery.repair import Rewrites
from dnal.space.surgery.sizes import Argument, Attribute, Change
from independent import assert_exact, coin_flips, difference, randomise, run, zero_twin
from networks import EXAMPLES, Attention, attending


class Split(nn.Module):
    """Pieces of 3 and 5 channels, remembered in a list."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces = [3, 5]
        self.first, self.a, self.b = nn.Linear(4, 8), nn.Linear(3, 4), nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        one, two = self.first(x).split(self.pieces, -1)
        return self.a(one.relu()) + self.b(two.relu())


class Window(Attention):
    """Computes the width of a head from that of the stream."""

    def forward(self, x: Tensor) -> Tensor:
        batch, length, channels = x.shape
        qkv = self.qkv(x).reshape(batch, length, 3, self.heads, channels // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        y = (q * (channels // self.heads) ** -0.5 @ k.transpose(-2, -1)).softmax(-1) @ v
        y = y.reshape(batch * self.heads, length, -1).view(batch, self.heads, length, -1)  # heads of the whole batch
        return self.out(y.transpose(1, 2).reshape(batch, length, channels))


def window() -> tuple[nn.Module, dnal.Space, Tensor]:
    torch.manual_seed(0)
    network, example = randomise(attending(Window(fused=False))).eval(), torch.randn(2, 7, 5)
    return network, dnal.Space.of(network, example), example


def test_a_module_that_remembers_its_sizes_keeps_its_class() -> None:
    network, example = randomise(Split()).eval(), torch.randn(2, 4)
    space = dnal.Space.of(network, example)
    assert space.num_variables == 3 + 5
    assert {rule.target for rule in space.sizes} == {Attribute("pieces", 0), Attribute("pieces", 1)}
    small = assert_exact(network, example, space, coin_flips(space, 1))
    assert type(small) is Split
    assert small.pieces == [small.a.in_features, small.b.in_features]
    assert network.pieces == [3, 5]


class Shared(nn.Module):
    """One number for the channels of two layers, which are too few to differ in any choice of some of them."""

    def __init__(self) -> None:
        super().__init__()
        self.width = 2
        self.one, self.two = nn.Conv2d(3, 2, 3), nn.Conv2d(3, 2, 3)
        self.left, self.right = nn.Conv1d(2, 4, 1), nn.Conv1d(2, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        one = self.one(x).relu().reshape(len(x), self.width, -1)
        two = self.two(x).relu().reshape(len(x), self.width, -1)
        return self.left(one) + self.right(two)


def test_a_number_that_counts_two_groups_is_exact_where_only_one_shrinks() -> None:
    network, example = randomise(Shared()).eval(), torch.randn(2, 3, 6, 6)
    space = dnal.Space.of(network, example)
    assert space.num_variables == 4
    for closed in range(4):
        is_open = torch.arange(4) != closed
        assert_exact(network, example, space, dnal.Architecture.of(space, is_open))


def test_corrections_that_fit_by_chance_freeze_what_they_touch(monkeypatch: pytest.MonkeyPatch) -> None:
    import dnal.space.fit

    monkeypatch.setattr(dnal.space.fit, "_draws", lambda variables: [])  # every number is believed to mean the same
    network, example = randomise(Shared()).eval(), torch.randn(2, 3, 6, 6)
    space = dnal.Space.of(network, example)
    assert space.num_variables < 4
    assert "no correction of the numbers in the code fits its removal" in str(space.fixed)
    for seed in range(4):
        if space.num_variables:
            assert_exact(network, example, space, coin_flips(space, seed))


def test_a_computed_size_is_corrected_in_its_call_for_every_batch() -> None:
    network, space, example = window()
    assert space.num_variables == 4
    assert all(isinstance(rule.target, Argument) for rule in space.sizes)
    architecture = dnal.Architecture.random(space, 0.5)
    small = assert_exact(network, example, space, architecture)
    twin = zero_twin(network, space, architecture.open)
    for batch in (1, 3, 4):
        other = torch.randn(batch, 9, 5)
        assert difference(run(twin, other), run(small, other)) <= 1e-4


def test_a_corrected_network_is_an_ordinary_one() -> None:
    network, space, example = window()
    small = dnal.compact(network, dnal.Architecture.random(space, 0.5))
    assert isinstance(small[2], Window)
    assert not any("forward" in vars(module) for module in small.modules())
    expected = run(small, example)

    assert difference(expected, run(copy.deepcopy(small), example)) == 0
    assert difference(expected, run(pickle.loads(pickle.dumps(small)), example)) == 0
    held = io.BytesIO()
    torch.save(small.state_dict(), held)
    blank = copy.deepcopy(small)
    with torch.no_grad():
        for parameter in blank.parameters():
            parameter.zero_()
    blank.load_state_dict(torch.load(io.BytesIO(held.getvalue())))
    assert difference(expected, run(blank, example)) == 0
    exported = torch.export.export(small, (example,), strict=False).module()
    assert difference(expected, run(exported, example)) <= 1e-6


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore:.*torch.jit")
def test_a_corrected_network_is_traced_by_torchscript() -> None:
    network, space, example = window()
    small = dnal.compact(network, dnal.Architecture.random(space, 0.5))
    script = torch.jit.trace(small, example)
    assert difference(run(small, example), run(script, example)) <= 1e-6
    other = torch.randn(3, 7, 5)  # under the trace a number that comes from a shape is a tensor
    assert difference(run(small, other), run(script, other)) <= 1e-6


def of_dnal(network: nn.Module) -> set[str]:
    """The modules whose pickle names something of dnal."""
    return {path for path, module in network.named_modules() if "dnal" in str(module.__reduce_ex__(2)[0].__module__)}


class Heads(nn.MultiheadAttention):
    """Attention of a stream to itself."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(x, x, x, need_weights=False)[0]


@pytest.mark.parametrize("kind", ["window", "attention", "plain"])
def test_the_space_names_the_modules_that_need_dnal(kind: str) -> None:
    network, space, example = window()
    if kind != "window":
        middle = Heads(8, 4, batch_first=True) if kind == "attention" else nn.Linear(8, 8)
        network = randomise(nn.Sequential(nn.Linear(5, 8), nn.LayerNorm(8), middle, nn.Linear(8, 6), nn.Linear(6, 4)))
        space = dnal.Space.of(network.eval(), example)
    assert space.num_variables
    small = dnal.compact(network, dnal.Architecture.random(space, 0.5))
    assert of_dnal(small) == set(space.helped)
    assert bool(space.helped) == (kind != "plain")


@pytest.mark.parametrize("build", [window], ids=["window"])
def test_training_a_deep_copy_leaves_the_compact_network_alone(build: type) -> None:
    network, space, example = build()
    small = dnal.compact(network, dnal.Architecture.random(space, 0.5))
    before = {name: tensor.clone() for name, tensor in small.state_dict().items()}
    twin = copy.deepcopy(small).train()
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.1)
    for _ in range(10):
        optimizer.zero_grad()
        twin(example).square().sum().backward()
        optimizer.step()
    assert all(p.grad is not None for p in twin.parameters())
    assert all(p.grad is None for p in small.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in small.state_dict().items())


def test_the_file_alone_makes_the_compact_network(tmp_path: Path) -> None:
    network, space, example = window()
    architecture = dnal.Architecture.random(space, 0.5)
    architecture.save(tmp_path / "architecture.json")
    loaded = dnal.Architecture.load(tmp_path / "architecture.json")
    assert loaded == architecture
    assert (
        difference(run(dnal.compact(network, architecture), example), run(dnal.compact(network, loaded), example)) == 0
    )


@pytest.mark.parametrize(
    "size",
    [
        ["2", ["reshape", 5, 3, 0], 4, 8, False],
        ["2", ["reshape", 5, 3, 0], 4, 0, False],
        ["2", ["__class__", -1], 4, 2, False],
        ["2", ["heads", "x"], 4, 2, False],
        ["2", ["eval", 5, 3, 0], 4, 2, False],
        [2, ["heads", -1], 4, 2, False],
        ["2", ["heads", -1], 4, 2, 1],
        ["2", "heads", 4, 2, False],
        7,
    ],
)
def test_a_hostile_size_is_refused(size: object, tmp_path: Path) -> None:
    _, space, _ = window()
    path = tmp_path / "architecture.json"
    dnal.Architecture.random(space, 0.5).save(path)
    document = json.loads(path.read_text())
    document["sizes"] = [size]
    path.write_text(json.dumps(document))
    with pytest.raises(dnal.UserError, match="not an architecture"):
        dnal.Architecture.load(path)


@pytest.mark.parametrize("size", [["9", ["heads", -1], 4, 2, False], ["2", ["nothing", -1], 4, 2, False]])
def test_a_size_of_another_network_is_refused(size: list[object], tmp_path: Path) -> None:
    network, space, _ = window()
    path = tmp_path / "architecture.json"
    dnal.Architecture.random(space, 0.5).save(path)
    document = json.loads(path.read_text())
    document["sizes"] = [size]
    path.write_text(json.dumps(document))
    with pytest.raises(dnal.UserError, match="another network"):
        dnal.compact(network, dnal.Architecture.load(path))


class Standardised(nn.Conv2d):
    """Weight standardisation: every filter has mean 0 and variance 1 whatever its parameter is."""

    def forward(self, x: Tensor) -> Tensor:
        var, mean = torch.var_mean(self.weight, (1, 2, 3), keepdim=True, correction=0)
        weight = (self.weight - mean) * torch.rsqrt(var + 1e-6)
        return nn.functional.conv2d(x, weight, self.bias, self.stride, self.padding)


def test_standardised_convolutions_become_plain_and_are_gated_after_standardisation() -> None:
    torch.manual_seed(0)
    network = randomise(
        nn.Sequential(Standardised(3, 8, 3), nn.ReLU(), Standardised(8, 6, 3), nn.ReLU(), Standardised(6, 4, 1))
    )
    network, images = network.eval(), torch.randn(2, 3, 9, 9)
    space = dnal.Space.of(network, images)
    assert space.num_variables == 8 + 6
    assert space.baked == ["0", "2", "4"]

    plain = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 1)).eval()
    with torch.no_grad():
        for own, other in zip(network, plain, strict=True):
            if isinstance(own, Standardised):
                flat = own.weight.flatten(1)
                flat = (flat - flat.mean(1, keepdim=True)) / (flat.var(1, keepdim=True, correction=0) + 1e-6).sqrt()
                other.weight.copy_(flat.view_as(own.weight))
                other.bias.copy_(own.bias)
    architecture = dnal.Architecture.random(space, 0.5, seed=1)
    expected = run(zero_twin(plain, space, architecture.open), images)
    with pytest.warns(UserWarning, match="3 layers plain"):
        small = dnal.compact(network, architecture)
    assert difference(expected, run(small, images)) <= 1e-5
    assert all(type(layer) is nn.Conv2d for layer in small[::2])
    assert difference(expected, run(dnal.gated(network, architecture), images)) <= 1e-5
    assert not any(module._forward_pre_hooks for module in network.modules())

    soft = dnal.Gated(network, space)
    soft.hard = True
    with torch.no_grad():
        soft.s.copy_(architecture.open.float() - 0.5)
    assert difference(expected, run(soft, images)) <= 1e-5
    soft(images).square().sum().backward()
    assert soft.s.grad is not None
    assert soft.s.grad.any()


def test_channels_that_no_parameter_reads_are_gated_where_they_are_written() -> None:
    """Queries and keys meet each other: only their writers can close a channel."""
    build, _, inputs = EXAMPLES["a single head's queries and keys, and its values"]
    space = dnal.Space.of(build(), inputs())
    assert {("q.weight", 0), ("q.bias", 0), ("k.weight", 0), ("k.bias", 0)} <= set(space.gates)
    assert space.readers == [("last.weight", 1)]


def one_less(space: dnal.Space, seed: int) -> dnal.Architecture:
    """Without one channel of every group."""
    is_open = torch.ones(space.num_variables, dtype=torch.bool)
    for group in space.groups:
        if group.width > 2:
            is_open[group.variables[seed % group.width]] = False
    return dnal.Architecture.of(space, is_open)


HELPED = [
    "size hard-coded in a view", "size hard-coded in slices", "split by hard-coded sizes", "selective kernels",
    "attention loses heads", "fused attention loses heads", "nn.MultiheadAttention loses heads",
    "nn.MultiheadAttention on a stream that narrows",
]  # fmt: skip


@pytest.mark.parametrize("name", [*HELPED, "window"])
def test_a_second_and_a_third_round_find_the_groups_of_the_first(name: str) -> None:
    torch.manual_seed(0)
    if name == "window":
        network, _, example = window()
    else:
        build, _, inputs = EXAMPLES[name]
        network, example = randomise(build()).eval(), inputs()
    space = dnal.Space.of(network, example)
    assert space.helped
    names = [group.name for group in space.groups]
    for round_ in range(3):
        assert [group.name for group in space.groups] == names
        before = [group.width for group in space.groups]
        small = assert_exact(network, example, space, one_less(space, round_))
        twin = copy.deepcopy(small)
        with torch.no_grad():
            for parameter in twin.parameters():
                parameter.mul_(1.5)
        assert difference(run(small, example), run(twin, example)) > 0
        twin.load_state_dict(small.state_dict())
        assert torch.equal(run(small, example)[0], run(twin, example)[0])
        if name == "window":  # the others hold lambdas
            restored = pickle.loads(pickle.dumps(twin))
            assert torch.equal(run(small, example)[0], run(restored, example)[0])
        network, space = small, dnal.Space.of(small, example)
        assert [group.width for group in space.groups] == [w - (w > 2) for w in before]


def test_corrections_follow_one_another() -> None:
    """One call, and each call of a kind, in every order."""
    one, every = Argument("view", 2, 1, 0), Argument("view", 2, 1, -1)
    for first, second, expected in (
        (one, one, {one: 3}), (every, every, {every: 3}), (every, one, {every: 5, one: 3}),
        (one, every, {one: 3, every: 5}),
    ):  # fmt: skip
        rewrites = Rewrites()
        rewrites.add(Change("", first, 8, 5))
        rewrites.add(Change("", second, 5, 3))
        numbers = {argument: rewrites.number(argument, 8) for argument in expected}
        if (first, second) == (one, every):
            assert numbers[one] == 3
            assert rewrites.number(Argument("view", 2, 1, 1), 5) == 3  # the other calls had 5 from the start
        else:
            assert numbers == expected


class Literal(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.linear = nn.Conv2d(1, 6, 3), nn.Linear(6 * 36, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.conv(x).relu().reshape(-1, 216))


def test_what_reads_the_code_is_told_what_sees_the_sizes() -> None:
    torch.manual_seed(0)
    network, images = randomise(Literal()).eval(), torch.randn(2, 1, 8, 8)
    space = dnal.Space.of(network, images)
    small = dnal.compact(network, one_less(space, 0))
    assert space.helped
    for reading in (torch.jit.script, torch.fx.symbolic_trace):
        with pytest.raises(
            dnal.UserError, match=r"in a Literal.*torch\.export\.export\(network\.eval\(\), \(example,\)\)"
        ):
            reading(small)
    expected = small(images)
    graph = torch.export.export(small, (images,)).module()
    assert isinstance(graph, torch.fx.GraphModule)
    assert torch.allclose(graph(images), expected)
    assert torch.allclose(torch.jit.trace(small, images)(images), expected)
    assert torch.allclose(torch.compile(small, backend="eager", fullgraph=True)(images), expected)
    torch.fx.symbolic_trace(network)  # the original stays as it was
    torch.jit.script(network)


def test_learning_twice_on_a_helped_network() -> None:
    torch.manual_seed(0)
    images, labels = torch.randn(32, 1, 8, 8), torch.randint(0, 3, (32,))
    loader = DataLoader(TensorDataset(images, labels), 8)
    first = dnal.learn(Literal(), loader, loader, budget="macs<=70%", epochs=(1, 1, 1))
    second = dnal.learn(first.network, loader, loader, budget="macs<=70%", epochs=(1, 1, 1))
    assert first.network is not second.network
    assert second.figures.compact.macs <= 0.7 * first.figures.compact.macs
    assert second.constraints[0]["holds"]


class HalfBiased(nn.Module):
    """Heads whose number is a literal; the values' part of one bias is set to zero at places computed from its size, as
    in torchvision's Swin V2. With half the heads twice the new length is the old one."""

    def __init__(self) -> None:
        super().__init__()
        self.packed, self.last = nn.Linear(8, 3 * 8), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        bias = self.packed.bias.clone()
        length = bias.numel() // 3
        bias[length : 2 * length].zero_()
        q, v, k = F.linear(x, self.packed.weight, bias).reshape(len(x), x.size(1), 3, 4, -1).permute(2, 0, 3, 1, 4)
        out = (q @ k.transpose(-1, -2)).softmax(-1) @ v
        return self.last(out.transpose(1, 2).flatten(2))


def test_a_place_that_is_computed_is_not_corrected_again() -> None:
    torch.manual_seed(0)
    network, inputs = randomise(HalfBiased()).eval(), torch.randn(2, 6, 8)
    space = dnal.Space.of(network, inputs)
    assert [group.width for group in space.groups] == [4]
    for heads in ([0, 1], [1, 2], [3], [0, 2, 3]):
        is_open = torch.zeros(4, dtype=torch.bool)
        is_open[heads] = True
        assert_exact(network, inputs, space, dnal.Architecture.of(space, is_open))
