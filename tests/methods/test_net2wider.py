"""Layers that grow, and compute the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import dnal
from dnal.changes.growth import Growth
from dnal.methods.net2wider import Net2Wider
from dnal.models import create
from independent import counted_macs, randomise
from networks import EXAMPLES, SIDE, Net, conv, function, image
from tasks import task_of


def grown(
    network: nn.Module, example: Any, method: Net2Wider | None = None, **options: Any
) -> tuple[Growth, nn.Module]:
    space = dnal.Space.of(network, example, **options)
    change = (method or Net2Wider()).choose(task_of(network, space, [], {}))
    return change, change.apply(network)


def relative(network: nn.Module, other: nn.Module, inputs: Any) -> float:
    with torch.no_grad():
        expected, found = network(inputs), other(inputs)
    return float((found - expected).abs().max()) / float(expected.abs().max())


ALL = (
    "conv-bn chain", "residual sums tie", "concatenation keeps parts apart", "depthwise",
    "depthwise with a multiplier", "squeeze-excite", "flatten into linear", "chunk ties the pieces", "tied weights",
    "a module called twice", "PReLU", "narrow groups leave whole", "GroupNorm loses whole groups", "GLU halves leave "
    "together", "U-Net", "transposed convolution", "transposed and depthwise", "three dimensions", "a recurrent cell",
    "channels last into a classifier", "wide groups lose positions", "pixel shuffle",
)  # fmt: skip


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("factor", [2.0, 1.5])
def test_all_groups_grow_and_nothing_else_changes(name: str, factor: float) -> None:
    build, variables, inputs = EXAMPLES[name]
    torch.manual_seed(0)
    network = randomise(build()).eval()
    change, wider = grown(network, inputs(), Net2Wider(factor=factor))
    assert len(change.copies) == variables
    assert int(change.copies.sum()) > variables
    if factor == 2.0:
        assert change.copies.tolist() == [2] * variables
    torch.manual_seed(1)
    x = inputs()
    with torch.no_grad():
        expected, found = network(x), wider(x)
    for one, other in zip(*(list(o.values()) if isinstance(o, dict) else [o] for o in (expected, found)), strict=True):
        assert float((other - one).abs().max()) <= 1e-5 * max(1.0, float(one.abs().max()))


@pytest.mark.parametrize(("model", "shape"), [("vgg_small", (1, 8, 8)), ("cifar/resnet20", (3, 16, 16))])
def test_networks_of_the_registry_double(model: str, shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    network, images = randomise(create(model, classes=10, input_shape=shape)).eval(), torch.randn(4, *shape)
    change, wider = grown(network, images)
    assert relative(network, wider, images) <= 1e-5
    assert counted_macs(wider, images, 4) > 3.5 * counted_macs(network, images, 4)
    assert dnal.Space.of(wider, images).num_variables == 2 * len(change.copies), "and can be learnt away again"
    assert {type(module) for module in wider.modules()} == {type(module) for module in network.modules()}


def test_training_mode_is_the_same_too() -> None:
    torch.manual_seed(0)
    network, images = randomise(create("vgg_small", classes=10, input_shape=(1, 8, 8))), torch.randn(8, 1, 8, 8)
    _, wider = grown(network, images)
    assert relative(network.train(), wider.train(), images) <= 1e-5


def test_copies_learn_different_things_and_equal_shares_do_not() -> None:
    data = dnal.data.loaders(dnal.data.load("digits", limit_train=96), 32)
    apart = {}
    for spread in (0, 0.5):
        torch.manual_seed(0)
        network = create("vgg_small", classes=10, input_shape=(1, 8, 8))
        learned = dnal.learn(network, data.train, data.val, method=Net2Wider(spread=spread), epochs=(1, 1, 1), lr=0.02)
        weight = next(p.detach() for p in learned.network.parameters() if p.dim() == 4)
        apart[spread] = float((weight[0::2] - weight[1::2]).abs().max())
    assert apart[0] < 1e-5
    assert apart[0.5] > 100 * apart[0]


def test_include_and_exclude_say_what_grows() -> None:
    network = nn.Sequential(conv(3, 4), nn.ReLU(), conv(4, 5), nn.ReLU(), conv(5, 6), nn.ReLU(), conv(6, 2)).eval()
    _, wider = grown(network, image(), include=["2"])
    assert [wider[i].out_channels for i in (0, 2, 4, 6)] == [4, 10, 6, 2]
    _, wider = grown(network, image(), Net2Wider(factor=3), exclude=["2"])
    assert [wider[i].out_channels for i in (0, 2, 4, 6)] == [12, 5, 18, 2]


def counting(n: Net, x: Tensor) -> Tensor:
    """Halves by number: with twice as many channels these are no halves."""
    return x[:, :4].relu() * x[:, 4:]


def half_and_more() -> nn.Module:
    first = function(8, counting, out=4)
    return nn.Sequential(first, nn.ReLU(), conv(4, 5), nn.ReLU(), conv(5, 2))


def test_what_cannot_grow_exactly_is_left_as_it_is_and_told() -> None:
    torch.manual_seed(0)
    network = half_and_more().eval()
    with pytest.warns(UserWarning, match=r"net2wider leaves \d of \d groups as they are.*0\.first"):
        _, wider = grown(network, image())
    assert wider[2].out_channels == 10
    assert wider[0].first.out_channels == 8
    assert relative(network, wider, image()) <= 1e-5


def alone() -> nn.Module:
    return function(8, counting, out=4)


@pytest.mark.parametrize(("build", "method", "reason"), [
    (alone, Net2Wider(), "no layer of this network can grow"),
    (half_and_more, Net2Wider(factor=1.01), "adds no channel"),
])  # fmt: skip
def test_a_network_that_cannot_grow_is_refused_before_training(
    build: Callable[[], nn.Module], method: Net2Wider, reason: str
) -> None:
    network = build()
    with pytest.raises(dnal.UserError, match=reason):
        method.check(network, dnal.Space.of(network, image()))


def test_widths_that_say_nothing_here_are_told() -> None:
    data = dnal.data.loaders(dnal.data.load("digits", limit_train=96), 48)
    network = create("vgg_small", classes=10, input_shape=(1, SIDE, SIDE))
    with pytest.warns(UserWarning, match="min_width says which widths may be left under a budget"):
        dnal.learn(network, data.train, data.val, method="net2wider", widths="min_width=4", epochs=(1, 0, 0))
