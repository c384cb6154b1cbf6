"""Residual branches. The reference for a closed branch is the network whose last norm, product or layer scale of that
branch, named in the test, is zero."""

import copy
import json
import warnings

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

import dnal
from dnal.models import create
from independent import counted_macs, difference, parameter_count, randomise, run, zero_twin

NETWORKS = {  # name: (pixels, branches, what scales the result of a branch)
    "cifar/resnet20": (32, 9, ["bn2"]),
    "torchvision/resnet18": (64, 8, ["bn2"]),
    "timm/convnext_atto": (64, 12, ["gamma"]),
    "timm/mobilenetv3_small_050": (64, 7, None),
}
SLOW_NETWORKS = {
    "cifar/mobilenet_v2": (32, 14, None),
    "torchvision/mobilenet_v2": (64, 10, ["conv.3"]),
    "timm/resnet18": (64, 8, ["bn2"]),
    "cifar/resnet56": (32, 27, ["bn2"]),
    "torchvision/resnet50": (64, 16, ["bn3"]),
    "torchvision/efficientnet_b0": (64, 9, ["block.3.1"]),
    "torchvision/convnext_tiny": (64, 18, ["layer_scale"]),
    "torchvision/vit_b_32": (224, 24, ["out_proj", "3"]),
    "timm/efficientnet_lite0": (64, 9, ["bn3"]),
    "timm/vit_tiny_patch16_224": (224, 24, ["proj", "fc2"]),
    "timm/regnety_002": (64, 13, ["conv3.bn"]),
}


def network_of(name: str, pixels: int) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    source, _, model = name.partition("/")
    if source == "cifar":
        network = create(name, input_shape=(3, pixels, pixels))
    elif source == "timm":
        network = timm.create_model(model)
    else:
        network = getattr(torchvision.models, model)(weights=None)
    if model == "vit_b_32":  # it is born with a head of zeros, which would hide everything
        nn.init.normal_(network.heads.head.weight)
    return randomise(network).eval(), torch.randn(2, 3, pixels, pixels)


@pytest.mark.parametrize("name", [*NETWORKS, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW_NETWORKS)])
def test_networks_without_branches(name: str) -> None:
    pixels, branches, last = {**NETWORKS, **SLOW_NETWORKS}[name]
    network, images = network_of(name, pixels)
    space = dnal.Space.of(network, images, depth=True)
    assert space.num_branches == branches
    assert [b.variable for b in space.branches] == list(range(space.num_variables, space.num_gates))
    for seed in range(3):
        architecture = dnal.Architecture.random(space, 1.0 if seed == 0 else 0.5, seed, branches=0.5)
        closed = [b for b in space.branches if not architecture.open[b.variable]]
        assert len(closed) == branches - round(branches / 2)
        zeroed = zero_twin(network, space, architecture.open)
        for branch in closed:
            for place in branch.bypass.places:
                ending = place.rpartition(".")[0] if place.endswith(("weight", "bias")) else place
                assert last is None or any(ending.endswith(f".{tail}") for tail in last)
                zeroed.get_parameter(place).data.zero_()
        reference = run(zeroed, images)
        small = dnal.compact(network, architecture)
        assert difference(reference, run(small, images)) <= 1e-4
        assert difference(reference, run(dnal.gated(network, architecture), images)) <= 1e-4
        cost = space.cost_of(architecture.open)
        assert cost["params"] == parameter_count(small)
        assert cost["macs"] == counted_macs(small, images, 2)


def _channels(space: dnal.Space) -> Tensor:
    return torch.arange(space.num_gates) < space.num_variables


class Block(nn.Module):
    """relu(shortcut(x) + norm(second(relu(first(x)))))."""

    def __init__(self, width: int = 6, shortcut: nn.Module | None = None) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(width, 5, 3, padding=1), nn.Conv2d(5, width, 3, padding=1)
        self.norm, self.relu = nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        self.shortcut = shortcut or nn.Identity()

    def inside(self, x: Tensor) -> Tensor:
        return self.norm(self.second(torch.relu(self.first(x))))

    def forward(self, x: Tensor) -> Tensor:
        out = self.inside(x)
        out += self.shortcut(x)
        return self.relu(out)


def around(*blocks: nn.Module, width: int = 6) -> nn.Sequential:
    network = nn.Sequential(nn.Conv2d(3, width, 3), nn.ReLU(), *blocks, nn.Conv2d(width, 2, 1))
    return randomise(network).eval()


IMAGES = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def test_depth_is_off_by_default_and_leaves_the_channel_variables_alone() -> None:
    network = around(Block())
    without, with_branches = dnal.Space.of(network, IMAGES), dnal.Space.of(network, IMAGES, depth=True)
    assert (without.num_branches, with_branches.num_branches) == (0, 1)
    assert without.num_variables == with_branches.num_variables == with_branches.num_gates - 1
    assert without.names == with_branches.names


def test_a_closed_block_becomes_its_shortcut() -> None:
    network = around(Block(), Block(shortcut=nn.Conv2d(6, 6, 1)))
    space = dnal.Space.of(network, IMAGES, depth=True)
    assert [b.name for b in space.branches] == ["2", "3"]
    is_open = _channels(space)
    small = dnal.compact(network, dnal.Architecture.of(space, is_open))
    assert isinstance(small[2], nn.ReLU)
    assert [type(m) for m in small[3]] == [nn.Conv2d, nn.ReLU]
    hand = network[4](torch.relu(network[3].shortcut(torch.relu(network[0](IMAGES)))))
    assert torch.allclose(small(IMAGES), hand, atol=1e-6)


@pytest.mark.parametrize("shortcut", [None, nn.Conv2d(6, 6, 1)])
def test_a_network_that_computes_in_place_trains_without_a_block(shortcut: nn.Module | None) -> None:
    """The block before needs for its backward pass what the next one's shortcut would write into."""
    network = around(Block(), Block(shortcut=shortcut), Block())
    space = dnal.Space.of(network, IMAGES, depth=True)
    for branch in space.branches:
        is_open = torch.ones(space.num_gates, dtype=torch.bool)
        is_open[branch.variable] = False
        small = dnal.compact(network, dnal.Architecture.of(space, is_open)).train()
        small(IMAGES).square().sum().backward()
        assert all(p.grad is not None for p in small.parameters())


class PreActivation(nn.Module):
    """x + norm(convolution(x)): without its branch nothing is left of it."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.norm(self.convolution(x))


@pytest.mark.parametrize("activation", [nn.ReLU, nn.SiLU])
def test_a_block_between_activations_that_work_in_place(activation: type[nn.Module]) -> None:
    """Left out as a whole, the second would write into what the first needs for its backward pass."""
    network = randomise(nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), activation(inplace=True), PreActivation(), activation(inplace=True),
        PreActivation(), nn.Conv2d(6, 2, 1),
    ))  # fmt: skip
    space = dnal.Space.of(network, IMAGES, depth=True)
    assert [branch.name for branch in space.branches] == ["3", "5"]
    for branch in space.branches:
        is_open = torch.ones(space.num_gates, dtype=torch.bool)
        is_open[branch.variable] = False
        small = dnal.compact(network, dnal.Architecture.of(space, is_open)).train()
        small(IMAGES).square().sum().backward()


def test_a_gate_between_0_and_1_scales_the_branch() -> None:
    block = Block()
    network = around(block)
    space = dnal.Space.of(network, IMAGES, depth=True)
    gated = dnal.Gated(network, space, start=50.0).eval()
    with torch.no_grad():
        gated.s[space.branches[0].variable] = -0.4
    share = torch.sigmoid(torch.tensor(-0.4))
    stem = torch.relu(network[0](IMAGES))
    hand = network[3](torch.relu(stem + share * block.inside(stem)))
    assert torch.allclose(gated(IMAGES), hand, atol=1e-5)
    gated(IMAGES).square().sum().backward()
    assert gated.s.grad is not None
    assert float(gated.s.grad[space.branches[0].variable].abs()) > 0


class TwoBranches(nn.Module):
    """A transformer's block: two sums in one forward."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(8), nn.LayerNorm(8)
        self.mix, self.mlp = nn.Linear(8, 8), nn.Sequential(nn.Linear(8, 12), nn.GELU(), nn.Linear(12, 8))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.mix(self.norm1(x))
        return x + self.mlp(self.norm2(x))


def test_one_of_two_branches_of_a_block() -> None:
    network = randomise(nn.Sequential(nn.Linear(4, 8), TwoBranches(), nn.Linear(8, 3))).eval()
    inputs = torch.randn(5, 4)
    space = dnal.Space.of(network, inputs, depth=True)
    assert [b.name for b in space.branches] == ["1.mix", "1.mlp"]
    block = network[1]
    for closed in range(2):
        is_open = torch.ones(space.num_gates, dtype=torch.bool)
        is_open[space.branches[closed].variable] = False
        architecture = dnal.Architecture.of(space, is_open)
        small = dnal.compact(network, architecture)
        x = network[0](inputs)
        hand = x + block.mlp(block.norm2(x)) if closed == 0 else x + block.mix(block.norm1(x))
        assert torch.allclose(small(inputs), network[2](hand), atol=1e-6)
        assert parameter_count(small) == space.cost_of(architecture.open)["params"]
    assert not architecture.open[: space.num_variables].all()  # the hidden width stands in the closed branch alone


def test_what_is_no_branch() -> None:
    class Parallel(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(6, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return self.a(x) + self.b(x)  # two of equal size: neither is the shortcut

    class Crooked(Block):
        def forward(self, x: Tensor) -> Tensor:
            return x + torch.sigmoid(self.inside(x))  # no parameter scales it

    class Observed(Block):
        def forward(self, x: Tensor) -> Tensor:
            inner = torch.relu(self.first(x))
            return x + self.norm(self.second(inner)) + inner.mean()

    shared = Block()
    for blocks in ([Parallel()], [Crooked()], [shared, shared]):
        assert dnal.Space.of(around(*blocks), IMAGES, depth=True).num_branches == 0
    observed = dnal.Space.of(around(Observed()), IMAGES, depth=True)
    for branch in observed.branches:  # what else uses a part of it keeps that part
        assert not branch.removes("2.first.weight")


def test_a_tensor_used_elsewhere_keeps_its_branch() -> None:
    first, second = Block(), Block()
    second.shortcut = nn.Conv2d(6, 6, 3, padding=1)
    second.shortcut.weight = nn.Parameter(torch.randn(6, 6, 3, 3))
    first.extra = nn.Conv2d(6, 6, 3, padding=1, bias=False)
    first.extra.weight = second.shortcut.weight
    first.inside = lambda x: first.norm(first.extra(x))  # type: ignore[method-assign]
    space = dnal.Space.of(around(first, second), IMAGES, depth=True)
    assert not any(b.removes("2.extra.weight") for b in space.branches)


def test_include_and_exclude_hold_for_branches() -> None:
    network = around(Block(), Block())
    names = lambda **patterns: [b.name for b in dnal.Space.of(network, IMAGES, depth=True, **patterns).branches]  # noqa: E731
    assert names(exclude="2.first") == ["3"]
    assert names(include="2.*") == ["2"]


def test_the_file_holds_the_closed_branches(tmp_path) -> None:
    network = around(Block(), Block(shortcut=nn.Conv2d(6, 6, 1)))
    space = dnal.Space.of(network, IMAGES, depth=True)
    architecture = dnal.Architecture.random(space, 0.5, branches=0.5)
    architecture.save(tmp_path / "a.json")
    loaded = dnal.Architecture.load(tmp_path / "a.json")
    assert loaded == architecture
    assert torch.equal(dnal.compact(network, loaded)(IMAGES), dnal.compact(network, architecture)(IMAGES))
    document = json.loads((tmp_path / "a.json").read_text())
    good = document["bypasses"]
    places, modules = good[0][1:]
    for wrong in (["2"], ["2", [], []], ["2", ["nowhere"], modules], ["2", places, [["2", "exec", [], 0]]]):
        (tmp_path / "b.json").write_text(json.dumps({**document, "bypasses": [wrong]}))
        with pytest.raises(dnal.UserError, match="branch"):
            dnal.Architecture.load(tmp_path / "b.json")
    (tmp_path / "b.json").write_text(json.dumps({**document, "bypasses": [["2", places, [["9", "zero", [], 0]]]]}))
    with pytest.raises(dnal.UserError, match="another network"):
        dnal.compact(network, dnal.Architecture.load(tmp_path / "b.json"))


def test_an_empty_group_is_refused_only_where_it_lives() -> None:
    network = around(Block())
    space = dnal.Space.of(network, IMAGES, depth=True)
    hidden = next(g for g in space.groups if g.name.startswith("2.first"))
    is_open = torch.ones(space.num_gates, dtype=torch.bool)
    is_open[hidden.variables] = False
    with pytest.raises(dnal.UserError, match="no channel left"):
        dnal.Architecture.of(space, is_open)
    is_open[space.branches[0].variable] = False
    assert dnal.Architecture.of(space, is_open) == dnal.Architecture.of(space, is_open | _channels(space))


def test_a_shallower_network_is_an_ordinary_one() -> None:
    network = create("cifar/resnet20", input_shape=(3, 32, 32)).eval()
    images = torch.randn(2, 3, 32, 32)
    space = dnal.Space.of(network, images, depth=True)
    small = dnal.compact(network, dnal.Architecture.random(space, 0.5, branches=0.4))
    twin = copy.deepcopy(small)
    twin.load_state_dict(small.state_dict())
    assert torch.equal(twin(images), small(images))
    optimizer = torch.optim.SGD(twin.train().parameters(), lr=0.1)
    twin(images).square().sum().backward()
    assert all(p.grad is not None for p in twin.parameters())
    optimizer.step()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exported = torch.export.export(small, (images,)).module()
    assert torch.allclose(exported(images), small(images), atol=1e-5)


class PostNorm(nn.Module):
    """As BERT writes it: one module computes a branch, another one adds and normalises, and the first gives a tuple."""

    class Inner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mix = nn.Conv2d(6, 8, 3, padding=1)

        def forward(self, hidden: Tensor, scale: float = 1.0) -> tuple[Tensor, None]:
            return self.mix(hidden).relu() * scale, None

    class Output(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.dense, self.norm = nn.Conv2d(8, 6, 1), nn.GroupNorm(1, 6)

        def forward(self, hidden: Tensor, shortcut: Tensor) -> Tensor:
            return self.norm(self.dense(hidden) + shortcut)

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.output = self.Inner(), self.Output()

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.inner(hidden=x, scale=1.0)[0], x)


class Timed(nn.Module):
    """As diffusion networks write it: what comes in from the side has another width than the block."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.first, self.time = nn.GroupNorm(1, 6), nn.Conv2d(6, 6, 3, padding=1), nn.Linear(4, 6)
        self.norm, self.second = nn.GroupNorm(1, 6), nn.Conv2d(6, 6, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first(self.enter(x)) + self.time(torch.ones(x.size(0), 4))[..., None, None]
        return (x + self.second(self.norm(hidden).relu())) / 2


@pytest.mark.parametrize("block", [PostNorm, Timed])
def test_a_branch_may_begin_and_end_in_different_modules(block: type[nn.Module]) -> None:
    torch.manual_seed(0)
    network = around(block())
    space = dnal.Space.of(network, IMAGES, depth=True)
    (branch,) = space.branches
    assert branch.name == {PostNorm: "2.inner", Timed: "2.first"}[block]
    for keep in (1.0, 0.5):
        is_open = dnal.Architecture.random(space, keep, branches=1.0).open.clone()
        is_open[branch.variable] = False
        architecture = dnal.Architecture.of(space, is_open)
        small = dnal.compact(network, architecture)
        twin = zero_twin(network, space, architecture.open)
        with torch.no_grad():
            for name in branch.bypass.places:
                twin.get_parameter(name).zero_()
        for images in (IMAGES, torch.randn(3, *[n + 4 * (d > 0) for d, n in enumerate(IMAGES.shape[1:])])):
            for training in (False, True):
                a, b = twin.train(training), small.train(training)
                torch.testing.assert_close(a(images), b(images), rtol=1e-4, atol=1e-5)
        assert parameter_count(small) == space.cost_of(architecture.open)["params"] < parameter_count(network)


def test_a_number_of_heads_that_are_gone_with_their_branch_stays_as_it_is() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.heads = 2
            self.norm, self.qkv, self.out = nn.BatchNorm1d(6), nn.Conv1d(6, 24, 1), nn.Conv1d(8, 6, 1)

        def forward(self, x: Tensor) -> Tensor:
            tokens = self.norm(x.flatten(2))
            q, k, v = self.qkv(tokens).chunk(3, 1) if isinstance(self.qkv, nn.Conv1d) else (self.qkv(tokens),) * 3
            q, k, v = (t.reshape(t.size(0), self.heads, -1, t.size(-1)) for t in (q, k, v))
            y = v @ (q.transpose(-2, -1) @ k).softmax(-1)
            return x + self.out(y.reshape(y.size(0), -1, y.size(-1))).view_as(x)

    network = around(Attention())
    space = dnal.Space.of(network, IMAGES, depth=True)
    assert space.sizes
    for branch in space.branches:
        is_open = torch.ones(space.num_gates, dtype=torch.bool)
        is_open[branch.variable] = False
        architecture = dnal.Architecture.of(space, is_open)
        assert all(change.new for change in architecture.kept.sizes)
        dnal.compact(network, architecture)  # which checks it
