"""The examples behind a loader: picked by their numbers, and a loader of some of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler

from dnal import data
from dnal.base.errors import UserError
from dnal.data.loader import EpochLoader
from dnal.train.batch import InPairs, Reading
from dnal.train.enough import enough
from dnal.train.examples import examples, in_chunks, only, picked


def of_torch(count: int = 23, **more: Any) -> DataLoader[Any]:
    numbers = torch.arange(count).float()
    return DataLoader(TensorDataset(numbers[:, None].repeat(1, 4), numbers.long()), 5, shuffle=True, **more)


def of_ours() -> EpochLoader:
    return data.loaders(data.load("digits", limit_train=50), 8, seed=3).train


def seen(loader: Any) -> list[int]:
    return sorted(int(number) for _, targets in loader for number in targets)


def test_picked_batches_of_torch_are_those_examples() -> None:
    loader = of_torch()
    assert examples(loader) == 23
    found = list(picked(loader, [torch.tensor([3, 1]), torch.tensor([22])]))
    assert [batch[1].tolist() for batch in found] == [[3, 1], [22]]
    assert found[0][0][:, 0].tolist() == [3.0, 1.0]


def test_picked_batches_of_ours_are_plain_and_in_order() -> None:
    loader = of_ours()
    assert examples(loader) == 50
    part = loader.part
    first, again = (next(iter(picked(loader, [torch.arange(50)], seed))) for seed in (0, 1))
    assert torch.equal(first[1], part.y)
    assert torch.equal(first[0], again[0]), "not augmented"
    moved = [next(iter(picked(loader, [torch.arange(50)], seed, augmented=True)))[0] for seed in (0, 0, 1)]
    assert torch.equal(moved[0], moved[1])
    assert not torch.equal(moved[0], moved[2])
    assert not torch.equal(moved[0], first[0])


@pytest.mark.parametrize("make", [of_torch, of_ours])
def test_a_loader_of_some_examples_gives_those_alone(make: Any) -> None:
    loader, chosen = make(), torch.tensor([0, 2, 2, 4, 6, 8, 10, 12, 14, 16])
    some = only(loader, chosen)
    wanted = next(iter(picked(loader, [chosen])))[1].tolist()
    assert seen(some) == sorted(wanted)
    orders = [[int(number) for _, targets in some for number in targets] for _ in range(3)]
    assert len({tuple(order) for order in orders}) > 1, "shuffled again every epoch"
    assert type(some) is type(loader)


def test_what_stands_in_front_of_a_loader_stays_there() -> None:
    network = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    reading = Reading(lambda batch: (-batch[0], batch[1] + 100))
    with pytest.warns(UserWarning, match="left out"):
        loader = enough(InPairs(of_torch(21), reading), network)
    assert examples(loader) == 21
    inputs, targets = next(iter(picked(loader, [torch.tensor([2, 5])])))
    assert (inputs[:, 0].tolist(), targets.tolist()) == ([-2.0, -5.0], [102, 105])
    some = only(loader, torch.arange(10))
    assert (len(some), seen(some)) == (2, list(range(100, 110))), "whole batches: nothing is left out"
    assert len(loader) == 4


def test_a_loader_of_some_examples_goes_on_in_its_middle() -> None:
    first = only(of_ours(), torch.arange(0, 50, 2))
    whole = [targets.tolist() for _, targets in first]
    again, after = only(of_ours(), torch.arange(0, 50, 2)), only(of_ours(), torch.arange(0, 50, 2))
    batches = iter(again)
    begun = [next(batches)[1].tolist()]
    after.load_state_dict(again.state_dict())
    assert begun + [targets.tolist() for _, targets in after] == whole


@pytest.mark.parametrize(
    "loader",
    [
        [(torch.zeros(2, 3), torch.zeros(2).long())],
        DataLoader(TensorDataset(torch.zeros(9, 2), torch.zeros(9)), 3, sampler=WeightedRandomSampler([1.0] * 9, 9)),
    ],
)
def test_examples_without_numbers_are_refused(loader: Any) -> None:
    with pytest.raises(UserError, match="by their numbers"):
        examples(loader)


def test_chunks_are_equal_and_lose_nothing() -> None:
    sizes: list[int] = []
    for count in (1, 9, 10, 11, 257):
        chunks: list[Tensor] = in_chunks(torch.arange(count), 10)
        assert torch.equal(torch.cat(chunks), torch.arange(count))
        sizes += [len(chunk) for chunk in chunks]
        assert max(sizes) <= 10
    assert min(sizes[1:]) > 4
