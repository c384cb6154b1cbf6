"""A copy of a network is that of copy.deepcopy: the same classes, and what is shared in it is shared in the copy, with
the original nothing."""

import copy
from collections import OrderedDict
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dnal.space.copying import deep_copy


class Own(nn.Module):
    """Whatever a module may hold."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)
        self.same = self.layer
        self.tied = nn.Linear(3, 3)
        self.tied.weight = self.layer.weight
        self.register_buffer("table", torch.arange(3.0))
        self.view = self.table
        self.sizes: Any = [3, (3, 3), {"a": [self.layer]}, OrderedDict(b={1, 2})]
        self.around = (self.layer, 1)
        self.sizes.append(self.sizes)
        self.method = self.layer.forward
        self.layer.register_forward_hook(lambda *_: None)

    def forward(self, x: Tensor) -> Tensor:
        return self.tied(self.method(x)) + self.table


class InItsOwnWay(nn.Linear):
    def __deepcopy__(self, memo: dict[int, Any]) -> "InItsOwnWay":
        made = InItsOwnWay(*self.weight.shape)
        memo[id(self)] = made
        made.load_state_dict(self.state_dict())
        made.asked = True
        return made


class Reduced(nn.Linear):
    def __reduce_ex__(self, protocol: Any) -> Any:
        return _reduced, (), self.__getstate__()


class Restored(nn.Linear):
    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.restored = True


def _reduced() -> Reduced:
    made = Reduced.__new__(Reduced)
    made.asked = True
    return made


def shape(value: Any, numbers: dict[int, int]) -> Any:
    """A value as nested plain data, with the same number for what is the same object."""
    if isinstance(value, bool | int | float | str | None):
        return value
    if hasattr(value, "__qualname__"):
        return value.__qualname__
    if id(value) in numbers:
        return numbers[id(value)]
    numbers[id(value)] = len(numbers)
    if isinstance(value, Tensor):
        return type(value), value.tolist(), value.requires_grad
    if isinstance(value, dict):
        return type(value), [(key, shape(item, numbers)) for key, item in value.items()]
    if isinstance(value, (list, tuple, set)):
        return type(value), [shape(item, numbers) for item in value]
    if isinstance(value, nn.Module):
        return type(value), shape(vars(value), numbers)
    return type(value)


@pytest.mark.parametrize(
    "build",
    [
        Own,
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()),
        lambda: nn.TransformerEncoderLayer(8, 2),
        lambda: nn.LSTM(4, 4, 2),
        lambda: InItsOwnWay(2, 2),
        lambda: nn.Sequential(InItsOwnWay(2, 2), Reduced(2, 2), Restored(2, 2)),
    ],
)
def test_a_copy_is_that_of_deepcopy(build: Any) -> None:
    network = build()
    made = deep_copy(network)
    assert shape(made, {}) == shape(copy.deepcopy(network), {})
    held = {p.data_ptr() for p in [*network.parameters(), *network.buffers()]}
    assert not held & {p.data_ptr() for p in [*made.parameters(), *made.buffers()]}
    assert not set(map(id, network.modules())) & set(map(id, made.modules()))


def test_bound_methods_are_those_of_the_copy() -> None:
    network = Own()
    made = deep_copy(network)
    with torch.no_grad():
        network.layer.weight.zero_()
        assert made.method.__self__ is made.layer
        assert bool(made.layer(torch.ones(1, 3)).abs().sum() > 0)


def test_what_the_memo_has_takes_the_place_of_an_object() -> None:
    network = Own()
    small = nn.Parameter(torch.zeros(2, 3))
    made: Any = deep_copy(network, {id(network.layer.weight): small})
    assert made.layer.weight is made.tied.weight is small
