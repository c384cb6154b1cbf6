"""What stands where a branch was, whatever its module returns and wherever it stands. The reference is the network
whose branch is scaled by zeros, at batches that the Space was not found on."""

from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import dnal
from dnal.run.shape import cut, read_shape, shape_of, written
from independent import difference, parameter_count, randomise, run, zero_twin

RETURNS = {
    "a tuple": (lambda y: (y, None), lambda found: found[0], "offered"),
    "an unpacked tuple": (lambda y: (y, None, None), lambda found: (lambda y, *_: y)(*found), "offered"),
    "a tuple of one": (lambda y: (y,), lambda found: (lambda y: y)(*found), "offered"),
    "a tuple that is used up": (lambda y: (y, y.mean()), lambda found: found[0] + 0 * found[1], "not offered"),
    "a list": (lambda y: [y, None], lambda found: found[0], "offered"),
    "an unpacked list": (lambda y: [y, y], lambda found: (lambda y, _: y)(*found), "offered"),
    "a dict": (lambda y: {"x": y}, lambda found: found["x"], "offered"),
    "twice as many": (lambda y: torch.cat([y, y]), lambda found: found.view(2, -1, 5, 8)[0], "not offered"),
}


class Mix(nn.Module):
    def __init__(self, give) -> None:
        super().__init__()
        self.linear, self.give = nn.Linear(8, 8), give

    def forward(self, x: Tensor):
        return self.give(self.linear(x))


class Block(nn.Module):
    """norm(x + second(first(x))) * 2, whose first and second give what they compute in some form."""

    def __init__(self, give, take, parts: int) -> None:
        super().__init__()
        self.parts, self.take = nn.ModuleList(Mix(give) for _ in range(parts)), take
        self.norm = nn.LayerNorm(8)

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for part in self.parts:
            y = self.take(part(y))
        return self.norm(x + y) * 2


def without(network: nn.Module, space: dnal.Space, closed: Iterable[int]) -> tuple[nn.Module, nn.Module]:
    """The network with these branches scaled by zeros, and the compact one, through both of its files' texts."""
    is_open = torch.ones(space.num_gates, dtype=torch.bool)
    for number in closed:
        is_open[space.branches[number].variable] = False
    architecture = dnal.Architecture.of(space, is_open)
    twin = zero_twin(network, space, architecture.open)
    with torch.no_grad():
        for number in closed:
            for name in space.branches[number].bypass.places:
                twin.get_parameter(name).zero_()
    small = dnal.compact(network, dnal.Architecture.of_document(architecture.document()))
    assert parameter_count(small) == space.cost_of(architecture.open)["params"]
    return twin, small


@pytest.mark.parametrize(("traced_at", "parts"), [(1, 2), (2, 1), (3, 1)])
@pytest.mark.parametrize("form", RETURNS)
def test_a_branch_that_is_offered_works_at_every_batch(form: str, traced_at: int, parts: int) -> None:
    torch.manual_seed(0)
    give, take, verdict = RETURNS[form]
    network = randomise(nn.Sequential(nn.Linear(4, 8), Block(give, take, parts), nn.Linear(8, 3))).eval()
    space = dnal.Space.of(network, torch.randn(traced_at, 5, 4), depth=True)
    assert space.num_branches == (verdict == "offered")
    if space.num_branches:
        twin, small = without(network, space, [0])
        for batch in (1, 2, 3, 4):
            inputs = torch.randn(batch, 5, 4)
            assert difference(run(twin, inputs), run(small, inputs)) <= 1e-5


class Held(nn.Module):
    """x + body(x) and shortcut(x) + body(x), whose modules stand in attributes or in containers."""

    def __init__(self, container: str, shortcut: bool) -> None:
        super().__init__()
        body = nn.Sequential(nn.Conv2d(6, 5, 3, padding=1), nn.ReLU(), nn.Conv2d(5, 6, 3, padding=1))
        side = nn.Conv2d(6, 6, 1) if shortcut else nn.Identity()
        self.container = container
        if container == "list":
            self.parts = nn.ModuleList([nn.ModuleList([body, side])])
        elif container == "dict":
            self.parts = nn.ModuleDict({"body": body, "side": side})
        else:
            self.body, self.side = body, side

    def forward(self, x: Tensor) -> Tensor:
        if self.container == "list":
            body, side = self.parts[0]
        elif self.container == "dict":
            body, side = self.parts["body"], self.parts["side"]
        else:
            body, side = self.body, self.side
        return body(x) + side(x)


class Stage(nn.Module):
    """Blocks in a container of their own, which the stage runs."""

    def __init__(self, container: str, shortcut: bool) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 2, 1)
        self.blocks = nn.ModuleList(Held(container, shortcut) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x).relu()
        return self.head(x)


@pytest.mark.parametrize("shortcut", [False, True])
@pytest.mark.parametrize("container", ["list", "dict"])
def test_a_container_hides_no_branch(container: str, shortcut: bool, tmp_path: Path) -> None:
    images = torch.randn(2, 3, 8, 8)
    costs, left = [], []
    for kind in ("attributes", container):
        torch.manual_seed(0)
        network = randomise(Stage(kind, shortcut)).eval()
        space = dnal.Space.of(network, images, depth=True)
        assert [b.name for b in space.branches] == ["blocks.0", "blocks.1"]  # the whole block becomes its shortcut
        for closed in ([0], [0, 1]):
            twin, small = without(network, space, closed)
            for batch in (1, 3):
                other = torch.randn(batch, 3, 12, 12)
                assert difference(run(twin, other), run(small, other)) <= 1e-5
            costs.append(parameter_count(small))
            left.append(str(small).count("Conv2d"))
        is_open = torch.ones(space.num_gates, dtype=torch.bool)
        is_open[-1] = False
        architecture = dnal.Architecture.of(space, is_open)
        path = tmp_path / "shape.txt"
        path.write_text(written(shape_of(architecture)))
        again = cut(read_shape(path), network)
        assert {n: p.shape for n, p in again.named_parameters()} == {
            n: p.shape for n, p in dnal.compact(network, architecture).named_parameters()
        }
    assert (costs[:2], left[:2]) == (costs[2:], left[2:])


class Tailed(nn.Module):
    """tail(x + body(x)): what follows on the sum is a block itself."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.tail = nn.Conv2d(6, 6, 3, padding=1), Held("attributes", shortcut=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(x + self.body(x))


def test_a_block_that_stays_in_a_closed_one_may_be_closed_too() -> None:
    torch.manual_seed(0)
    network = randomise(nn.Sequential(nn.Conv2d(3, 6, 3), Tailed(), nn.Conv2d(6, 2, 1))).eval()
    images = torch.randn(2, 3, 8, 8)
    space = dnal.Space.of(network, images, depth=True)
    assert space.num_branches == 2
    for closed in ([0], [1], [0, 1]):
        twin, small = without(network, space, closed)
        assert difference(run(twin, images), run(small, images)) <= 1e-5


class Restored(nn.Module):
    """As restoration networks are written: the input, and what a network adds to it."""

    def __init__(self, *blocks: nn.Module, scaled: bool = False) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*blocks)
        self.scale = nn.Parameter(torch.ones(1)) if scaled else None

    def forward(self, x: Tensor) -> Tensor:
        return x * (1 if self.scale is None else self.scale) + self.blocks(x)


@pytest.mark.parametrize("scaled", [False, True])
def test_the_whole_network_is_no_branch(scaled: bool) -> None:
    images = torch.randn(2, 3, 8, 8)
    whole = Restored(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 3, 3, padding=1), scaled=scaled)
    assert dnal.Space.of(whole, images, depth=True).num_branches == 0
    inner = Held("attributes", shortcut=False)
    network = Restored(nn.Conv2d(3, 6, 3, padding=1), inner, nn.Conv2d(6, 3, 3, padding=1), scaled=scaled)
    assert [b.name for b in dnal.Space.of(network, images, depth=True).branches] == ["blocks.1"]


def test_of_branches_alone_one_stays() -> None:
    torch.manual_seed(0)
    network = randomise(nn.Sequential(Held("attributes", shortcut=False), Held("attributes", shortcut=False))).eval()
    images = torch.randn(2, 6, 8, 8)
    space = dnal.Space.of(network, images, depth=True)
    assert space.num_branches == 2
    for closed in ([0], [1]):
        twin, small = without(network, space, closed)
        assert difference(run(twin, images), run(small, images)) <= 1e-5
    is_open = torch.ones(space.num_gates, dtype=torch.bool)
    is_open[space.num_variables :] = False
    with pytest.raises(dnal.UserError, match="keep at least one of 0, 1"):
        dnal.Architecture.of(space, is_open)
    for seed in range(4):
        small = dnal.compact(network, dnal.Architecture.random(space, 0.5, seed, branches=0.0))
        assert dnal.macs(small, images) > 0


@pytest.mark.parametrize("children", [["a", "a"], ["a", "a.b"], ["a.b", "a-b", "a"]])
def test_a_chain_holds_no_module_twice(children: list[str]) -> None:
    network = Stage("dict", shortcut=True).eval()
    space = dnal.Space.of(network, torch.randn(2, 3, 8, 8), depth=True)
    is_open = torch.ones(space.num_gates, dtype=torch.bool)
    is_open[-1] = False
    document = dnal.Architecture.of(space, is_open).document()
    document["bypasses"][0][2][0][2] = children
    with pytest.raises(dnal.UserError, match="its branch"):
        dnal.Architecture.of_document(document)


class Attending(nn.Module):
    """2 (x + attention(x)), whose code takes what is written for three products from what one module gives."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.qkv, self.out = nn.LayerNorm(8), nn.Linear(8, 24), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm(x)).reshape(*x.shape[:-1], 3, -1).unbind(-2)
        return 2 * (x + self.out((q @ k.transpose(-2, -1)).softmax(-1) @ v))


def test_a_branch_in_another_one_is_tried_by_itself() -> None:
    """Eight channels are not three times as many: without its modules the code of the inner branch fails."""
    torch.manual_seed(0)
    inner = nn.Sequential(Attending(), Attending(), nn.Linear(8, 8))
    network = randomise(nn.Sequential(nn.Linear(4, 8), Restored(inner, nn.Linear(8, 8)), nn.Linear(8, 3))).eval()
    inputs = torch.randn(2, 5, 4)
    space = dnal.Space.of(network, inputs, depth=True)
    assert [branch.name for branch in space.branches] == ["1.blocks"]
    for closed in ([number] for number in range(space.num_branches)):
        twin, small = without(network, space, closed)
        assert difference(run(twin, inputs), run(small, inputs)) <= 1e-5


class Timed(nn.Module):
    """As diffusion networks write it: something from the side is as wide as what the block computes inside."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.first, self.time = nn.GroupNorm(2, 6), nn.Conv2d(6, 6, 3, padding=1), nn.Linear(4, 6)
        self.norm, self.second = nn.GroupNorm(2, 6), nn.Conv2d(6, 6, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first(self.enter(x)) + self.time(torch.ones(x.size(0), 4))[..., None, None]
        return (x + self.second(self.norm(hidden).relu())) / 2


def test_widths_that_are_equal_by_chance_hide_no_wrong_branch() -> None:
    """Of two small groups as many channels stay in most choices, and a block that is left out gives those of one to
    what reads the other."""
    torch.manual_seed(0)
    network = randomise(nn.Sequential(nn.Conv2d(3, 6, 3), Timed(), Timed(), nn.GroupNorm(2, 6), nn.Conv2d(6, 2, 1)))
    images = torch.randn(2, 3, 8, 8)
    space = dnal.Space.of(network.eval(), images, depth=True)
    assert {group.width for group in space.groups} == {2}
    for group in space.groups:
        for number in range(space.num_branches):
            is_open = torch.ones(space.num_gates, dtype=torch.bool)
            is_open[group.variables[1:]] = False
            is_open[space.branches[number].variable] = False
            dnal.compact(network, dnal.Architecture.of(space, is_open))  # which checks it
    assert space.num_branches == 0


@pytest.mark.parametrize("closed", [[0], [1], [0, 1]])
def test_a_second_round_finds_what_is_left(closed: list[int]) -> None:
    """The groups that stay, as wide, and the other branches, beside what stands in the place of those that are gone."""
    torch.manual_seed(0)
    give, take, _ = RETURNS["an unpacked tuple"]
    blocks = [nn.Sequential(nn.Linear(8, 8), Block(give, take, 2)) for _ in range(2)]
    network = randomise(nn.Sequential(nn.Linear(4, 8), *blocks, nn.Linear(8, 6), nn.Linear(6, 3))).eval()
    inputs = torch.randn(2, 5, 4)
    space = dnal.Space.of(network, inputs, depth=True)
    assert space.num_branches == 2
    is_open = torch.ones(space.num_gates, dtype=torch.bool)
    is_open[[space.branches[number].variable for number in closed]] = False
    architecture = dnal.Architecture.of(space, is_open)
    again = dnal.Space.of(dnal.compact(network, architecture), inputs, depth=True)
    left = [g for g in space.groups if architecture.open[g.variables].any()]
    places = {(g.width, *sorted(g.places)) for g in left}
    assert places <= {(g.width, *sorted(g.places)) for g in again.groups}
    assert [b.name for b in again.branches] == [b.name for n, b in enumerate(space.branches) if n not in closed]
    assert again.full_cost == space.cost_of(architecture.open)
