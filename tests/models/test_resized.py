"""Networks by a name with sizes: what is removed or grown is built again by it, and nothing else is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import dnal
from dnal.base.errors import UserError
from dnal.changes import Growth, Removal
from dnal.models.resized import base_of, is_resized
from dnal.space.space import Space

DIGITS: dict[str, Any] = {"classes": 10, "input_shape": (1, 8, 8), "kind": "images"}
COLOURS: dict[str, Any] = {"classes": 7, "input_shape": (3, 16, 16), "kind": "images"}
WINE: dict[str, Any] = {"classes": 3, "input_shape": (13,), "kind": "tables"}
CASES = [
    pytest.param("vgg_small", DIGITS, marks=pytest.mark.slow), ("mlp/small", WINE), ("cifar/resnet20", COLOURS),
    pytest.param("cifar/mobilenet_v2", COLOURS, marks=pytest.mark.slow), ("layers/conv_6_3-max-fc_12", DIGITS),
]  # fmt: skip


def space_of(network: nn.Module, made: dict[str, Any]) -> tuple[Space, torch.Tensor]:
    x = torch.randn(2, *made["input_shape"])
    return Space.of(network.eval(), x), x


def same(small: nn.Module, name: str, made: dict[str, Any], x: torch.Tensor) -> nn.Module:
    """The network of the name, which computes the same with the same weights, and has others until then."""
    again = dnal.models.create(name, **made).eval()
    assert {n: t.shape for n, t in again.state_dict().items()} == {n: t.shape for n, t in small.state_dict().items()}
    assert not torch.equal(again(x), small(x))
    again.load_state_dict(small.state_dict())
    assert torch.equal(again(x), small(x))
    return again


@pytest.mark.parametrize(("name", "made"), CASES)
def test_what_lost_channels_and_what_grew_is_built_again(name: str, made: dict[str, Any]) -> None:
    torch.manual_seed(0)
    network = dnal.models.create(name, **made)
    space, x = space_of(network, made)
    draw = torch.Generator().manual_seed(1)
    open_ = torch.rand(space.num_gates, generator=draw) < 0.7
    for group in space.groups:
        open_[group.variables[:1]] = True
    architecture = dnal.Architecture.of(space, open_)
    small = Removal(architecture).apply(network).eval()
    told = dnal.models.sized_name(small, name, **made)
    assert told.startswith(f"{name}@")
    assert (is_resized(told), base_of(told), dnal.models.kind_of(told)) == (True, name, made["kind"])
    again = same(small, told, made, x)
    assert dnal.models.sized_name(again, told, **made) == told

    of_small, _ = space_of(small, made)  # and what grows of it is told by its first name
    copies = torch.randint(1, 3, (of_small.num_variables,), generator=draw)
    larger = Growth.of(of_small, copies).outline(small).eval()
    same(larger, dnal.models.sized_name(larger, told, **made), made, x)


def test_what_did_not_change_keeps_its_name_and_other_classes_are_possible() -> None:
    network = dnal.models.create("vgg_small", **DIGITS)
    assert dnal.models.sized_name(network, "vgg_small", **DIGITS) == "vgg_small"
    fewer = dnal.models.create("vgg_small@6,6,6x6,6,x6", classes=3, input_shape=(1, 8, 8))
    assert fewer(torch.randn(2, 1, 8, 8)).shape == (2, 3)


def test_the_readable_name_is_that_of_the_sizes() -> None:
    network = dnal.models.create("layers/conv_4_3-conv_5_3", classes=3, input_shape=(1, 8, 8))
    wide = dnal.models.create("layers/conv_6_3-conv_5_3", classes=3, input_shape=(1, 8, 8))
    told = dnal.models.sized_name(wide, "layers/conv_4_3-conv_5_3", classes=3, input_shape=(1, 8, 8))
    assert told == "layers/conv_4_3-conv_5_3@6,6,x6"
    assert dnal.models.sized_name(network, told, classes=3, input_shape=(1, 8, 8)) == "layers/conv_4_3-conv_5_3"


def test_what_sizes_do_not_tell_is_a_sentence() -> None:
    network = dnal.models.create("cifar/resnet20", **COLOURS)
    space = Space.of(network.eval(), torch.randn(2, 3, 16, 16), depth=True)
    open_ = torch.ones(space.num_gates, dtype=torch.bool)
    open_[space.branches[2].variable] = False
    without = Removal(dnal.Architecture.of(space, open_)).apply(network)
    with pytest.raises(UserError, match="more changed in this 'cifar/resnet20' than the sizes"):
        dnal.models.sized_name(without, "cifar/resnet20", **COLOURS)
    with pytest.raises(UserError, match="is code of its own"):
        dnal.models.sized_name(network, "mine:build", **COLOURS)


@pytest.mark.parametrize(
    "sizes",
    ["6y", "0", "6x6x6x6x6", "6+6+6", ",".join(["6"] * 99), "9999999999", "999999999x999999999", "-3", "6 ", "\u0666"],
)
def test_sizes_that_no_layer_has_are_a_sentence(sizes: str) -> None:
    with pytest.raises(UserError, match="says sizes that 'vgg_small' has not"):
        dnal.models.create(f"vgg_small@{sizes}", **DIGITS)


def test_a_name_takes_no_memory_before_it_is_believed() -> None:
    large = dnal.models.outline("vgg_small@15000,15000,15000x15000,15000", **DIGITS)
    assert dnal.models.memory_of(large) > 2**32
