"""What gates add to a step: which side they multiply, how many operations, what is kept, and no wait for the device."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

import dnal
from dnal.gates.gated import KEPT
from dnal.gates.inputs import kept_for
from dnal.methods.dnal.search import START
from dnal.train.listener import Listener
from dnal.train.loop import run_epochs
from dnal.train.optimizers import sgd
from dnal.train.setup.numerics import fabric_of
from dnal.train.step import Step

VIEWS = {"view", "detach", "as_strided", "t", "alias", "split", "split_with_sizes", "expand", "slice", "unsqueeze"}


def chain(layers: int, width: int = 16) -> nn.Sequential:
    torch.manual_seed(0)
    parts: list[nn.Module] = [nn.Conv2d(3, width, 3, padding=1)]
    for _ in range(layers):
        parts += [nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1)]
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 4))


class Own(nn.Conv2d):
    """A convolution that does something else with its weight."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.weight.sum()


class Around(nn.Module):
    """Reads the weight of a layer past the layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 40), nn.Linear(40, 50)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(self.first(x).relu(), self.second.weight)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Linear(6, 40), nn.Linear(40, 40), nn.Linear(40, 40)
        self.third.weight = self.second.weight
        self.last = nn.Linear(40, 50)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.third(self.second(self.first(x).relu()).relu()).relu())


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.again, self.last = nn.Linear(6, 40), nn.Linear(40, 40), nn.Linear(40, 50)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.again(self.again(self.first(x)).relu()).relu())


def convolutions(kind: Any, pixels: tuple[int, ...], **more: Any) -> Callable[[], tuple[nn.Module, Tensor]]:
    def build() -> tuple[nn.Module, Tensor]:
        parts = (
            kind(3, 16, 3),
            nn.ReLU(),
            kind(16, 16, 3, **more),
            nn.ReLU(),
            kind(16, 24, 3, padding=1),
            nn.Flatten(),
        )
        return nn.Sequential(*parts), torch.randn(2, 3, *pixels)

    return build


NETWORKS: dict[str, tuple[Callable[[], tuple[nn.Module, Tensor]], set[str]]] = {
    "linear": (
        lambda: (nn.Sequential(nn.Linear(6, 40), nn.ReLU(), nn.Linear(40, 50)), torch.randn(2, 5, 6)), {"2.weight"}
    ),
    "1d": (convolutions(nn.Conv1d, (7,)), {"2.weight", "4.weight"}),
    "2d": (convolutions(nn.Conv2d, (6, 5), padding=1, padding_mode="reflect"), {"2.weight", "4.weight"}),
    "3d": (convolutions(nn.Conv3d, (5, 5, 5)), {"2.weight", "4.weight"}),
    "groups": (convolutions(nn.Conv2d, (5, 5), groups=4), {"4.weight"}),
    "a subclass": (
        lambda: (nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), Own(8, 40, 1)), torch.randn(2, 3, 2, 2)), set()
    ),
    "past the layer": (lambda: (Around(), torch.randn(2, 6)), set()),
    "tied": (lambda: (Tied(), torch.randn(2, 6)), {"last.weight"}),
    "twice": (lambda: (Twice(), torch.randn(2, 6)), {"again.weight", "last.weight"}),
}  # fmt: skip


def gradients(module: nn.Module, x: Tensor) -> list[Tensor]:
    out = module(x)
    loss = (out * torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)).sum()
    found = torch.autograd.grad(loss, list(module.parameters()), allow_unused=True)
    return [out.detach(), *(gradient for gradient in found if gradient is not None)]


@pytest.mark.parametrize("hard", [True, False])
@pytest.mark.parametrize("name", NETWORKS)
def test_gates_at_inputs_are_gates_at_weights(name: str, hard: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dnal.gates.gated.WORTH", 0)  # for small networks
    monkeypatch.setattr("dnal.gates.gated.KEPT", 1e9)  # no hooks but those of gates
    build, expected = NETWORKS[name]
    torch.manual_seed(0)
    network, x = build()
    network, x = network.double(), x.double()
    space = dnal.Space.of(network, x, probe=False)
    gated = dnal.Gated(network, space).double().train()
    gated.hard = hard
    with torch.no_grad():
        gated.s.copy_(torch.randn(space.num_gates))
    calls: Counter[str] = Counter()
    for path, layer in network.named_modules():
        layer.register_forward_pre_hook(lambda m, args, path=path: calls.update([path] if m._forward_hooks else []))
    small = gradients(gated, x)
    assert {f"{path}.weight" for path in calls} == expected
    large = torch.cat([x] * 500)
    calls.clear()
    gradients(gated, large)
    assert not calls  # the weights are the smaller side
    for share, at_inputs in ((0.0, gated._at_inputs), (1e9, {}), (0.0, {})):
        monkeypatch.setattr("dnal.gates.gated.KEPT", share)
        gated._at_inputs = at_inputs
        gated._ways.clear()
        for one, other in zip(small, gradients(gated, x), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)
    assert small[1].any()


def test_evaluation_multiplies_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without gradients torch may compute a whole encoder layer past the layers in it."""
    monkeypatch.setattr("dnal.gates.gated.WORTH", 0)
    torch.manual_seed(0)
    encoder = nn.TransformerEncoderLayer(16, 2, 40, batch_first=True)
    x = torch.randn(1, 2, 16)
    space = dnal.Space.of(encoder, x, probe=False)
    gated = dnal.Gated(encoder, space)
    with torch.no_grad():
        gated.s.copy_(torch.randn(space.num_gates))
    assert gated._way((x,), {}).at_layers
    gated.eval()
    with torch.no_grad():
        fast = gated(x)
    torch.testing.assert_close(fast, gated(x).detach(), rtol=1e-5, atol=1e-6)


def test_under_autocast_weights_are_multiplied_and_compiled_gates_are_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dnal.gates.gated.WORTH", 0)
    network, x = chain(3), torch.randn(1, 3, 4, 4)
    gated = dnal.Gated(network, dnal.Space.of(network, x, probe=False), start=0.3).train()
    assert gated._way((x,), {}).at_layers
    with torch.autocast("cpu", torch.bfloat16):
        assert not gated._way((x,), {}).at_layers
    x = torch.randn(2, 3, 4, 4)
    expected = gradients(gated, x)
    compiled = torch.compile(gated, backend="aot_eager")
    for one, other in zip(expected, gradients(compiled, x), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


class Operations(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.counts[func.overloadpacket.__name__.removesuffix("_")] += 1
        return func(*args, **(kwargs or {}))


def operations(module: nn.Module, x: Tensor) -> Counter[str]:
    module.zero_grad(set_to_none=True)  # gradients that are there would be added to
    with Operations() as seen:
        module(x).sum().backward()
    return Counter({name: count for name, count in seen.counts.items() if name not in VIEWS})


@pytest.mark.parametrize("batch", [1, 64])
def test_operations_per_gated_layer_are_few_and_the_gather_is_one(batch: int) -> None:
    added = []
    for layers in (4, 9):
        network, x = chain(layers), torch.randn(batch, 3, 6, 6)
        gated = dnal.Gated(network, dnal.Space.of(network, x[:1], probe=False)).train()
        gated.hard = True
        plain, with_gates = operations(network, x), operations(gated, x)
        assert not with_gates["index"] + with_gates["index_put"]
        assert with_gates["index_select"] == with_gates["index_add"] == 1
        added.append(sum(with_gates.values()) - sum(plain.values()))
    per_layer = (added[1] - added[0]) / 5
    assert per_layer <= 6  # a product, again for the backward pass, two gradients and a sum of one
    assert added[0] - 4 * per_layer <= 25


def kept(module: nn.Module, x: Tensor) -> int:
    """Bytes that a forward pass leaves for its backward pass."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        out = module(x)
    del out
    return sum(event.nbytes() for event in seen.profiler.kineto_results.events() if event.name() == "[memory]")


@pytest.mark.parametrize("batch", [1, 32])
def test_products_are_hardly_kept_for_the_backward_pass(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    network, x = chain(6, width=48).train(), torch.randn(batch, 3, 6, 6)
    space = dnal.Space.of(network, x[:1], probe=False)
    gated = dnal.Gated(network, space).train()
    gated.hard = True
    kept(network, x)  # what is allocated once
    plain = kept(network, x)
    slack = KEPT * plain + 20_000  # the gates themselves, written out
    assert kept(gated, x) <= plain + slack
    monkeypatch.setattr("dnal.gates.gated.KEPT", 1e9)
    gated._ways.clear()
    assert kept(gated, x) > plain + slack  # so that products would show


def test_weights_are_nothing_that_a_step_keeps_anyway() -> None:
    """A linear layer reads its weight as a transposed view, with or without a bias."""
    network = nn.Sequential(nn.Linear(6, 400), nn.ReLU(), nn.Linear(400, 500, bias=False), nn.Tanh(), nn.Linear(500, 3))
    x = torch.randn(2, 6)
    assert kept_for(dnal.Space.of(network, x, probe=False)) == (6 + 400 + 500) / 6


def test_only_layers_that_read_products_are_watched() -> None:
    """Hooks on all that is kept cost more in a network of many small layers than its products."""
    network, x = chain(6, width=48).train(), torch.randn(16, 3, 6, 6)
    gated = dnal.Gated(network, dnal.Space.of(network, x, probe=False)).train()
    watched = set()

    def look(path: str, module: nn.Module) -> None:
        graph: Any = torch._C._autograd
        if graph._top_saved_tensors_default_hooks(True) is not None:
            watched.add(path)

    for path, module in network.named_modules():
        module.register_forward_hook(lambda m, args, out, path=path: look(path, m))
        module.register_forward_pre_hook(lambda m, args, path=path: look(path, m))
    gated(x)
    again = {name.removesuffix(".weight") for name in gated._way((x,), {}).again}
    assert again
    assert watched == again
    watched.clear()
    many = torch.cat([x] * 20)  # what it keeps anyway is so much that all products may be kept
    gated(many)
    assert not watched


def test_what_is_watched_ends_where_a_layer_fails() -> None:
    network, x = chain(6, width=48).train(), torch.randn(16, 3, 6, 6)
    gated = dnal.Gated(network, dnal.Space.of(network, x, probe=False)).train()
    assert gated._way((x,), {}).again

    def fails(module: nn.Module, args: Any) -> None:
        raise ValueError("this one")

    for when in (False, True):  # before and after the hooks of the gates
        handle = network[6].register_forward_pre_hook(fails, prepend=when)
        with pytest.raises(ValueError, match="this one"):
            gated(x)
        handle.remove()
        graph: Any = torch._C._autograd
        assert graph._top_saved_tensors_default_hooks(True) is None
    gated(x).sum().backward()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_gates_that_are_written_out_are_the_same(layout: torch.memory_format, monkeypatch: pytest.MonkeyPatch) -> None:
    """For weights in another order of memory they are not written out; a change of order in between is no matter."""
    network = chain(3, width=24).double()
    x = torch.randn(8, 3, 4, 4, dtype=torch.double)
    space = dnal.Space.of(network, x[:2], probe=False)
    gated = dnal.Gated(network, space).double().train()
    with torch.no_grad():
        gated.s.copy_(torch.randn(space.num_gates))
    gated(x)
    assert any(len(ids) > len(gated._ids) for ids, _ in gated._gathered.values())
    network.to(memory_format=layout)
    found = gradients(gated, x)
    monkeypatch.setattr(gated, "_behind", dict.fromkeys(gated._behind, 1))
    for one, other in zip(found, gradients(gated, x), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_a_weight_that_changes_before_the_backward_pass_is_told() -> None:
    network, x = chain(3, width=48), torch.randn(16, 3, 6, 6)
    gated = dnal.Gated(network, dnal.Space.of(network, x[:1], probe=False)).train()
    gated.s.requires_grad_(False)
    assert "3.weight" in gated._way((x,), {}).again
    loss = gated(x).sum()
    with torch.no_grad():
        network[3].weight.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


class Waits(TorchFunctionMode):
    """Calls that wait for a device."""

    NAMES = frozenset({"item", "tolist", "cpu", "numpy", "__float__", "__bool__", "__int__", "nonzero"})

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in self.NAMES:
            self.counts[name] += 1
        return func(*args, **(kwargs or {}))


def test_a_training_step_does_not_wait_for_its_loss() -> None:
    fabric = fabric_of("32-true")
    counts = []
    heard: list[float] = []
    for steps in (3, 9):
        network = chain(2)
        batches = [(torch.randn(4, 3, 6, 6), torch.randint(0, 4, (4,))) for _ in range(steps)]
        step = Step(fabric, network, sgd(network, 0.01), F.cross_entropy, lambda progress: 0.01)
        listener = Listener()
        listener.step = heard.append  # type: ignore[method-assign]
        with Operations() as seen:
            run_epochs(
                fabric, "base", batches, 1, step, parts={"network": network}, describe=dict, listener=listener,
                history=[],
            )  # fmt: skip
        counts.append(seen.counts["_local_scalar_dense"])
    assert counts[0] == counts[1]  # what an epoch asks once
    assert len(heard) == 12
    assert all(0 < loss < 5 for loss in heard)


def test_a_step_of_the_search_asks_the_device_once() -> None:
    network, x = chain(3), torch.randn(4, 3, 6, 6)
    space = dnal.Space.of(network, x[:1], probe=False)
    gated = dnal.Gated(network, space, start=START).train()
    search = dnal.BudgetSearch(gated, space, {"macs": 0.5 * space.full_cost["macs"]}, 1000)
    for _ in range(3):
        with Waits() as forward:
            gated(x).square().mean().backward()
        assert not forward.counts
        with Waits() as seen:
            search.step()
        assert seen.counts["cpu"] == 1
