import random
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, RandomSampler, TensorDataset

from dnal import data
from dnal.base.errors import UserError
from dnal.train.loader import check_length, first_batch, pair
from dnal.train.resume.data_position import DataPosition
from dnal.train.resume.random_state import put_back, random_state

IMAGES = TensorDataset(torch.arange(50.0))


class Noisy(TensorDataset):
    def __getitem__(self, index: int) -> Any:
        return self.tensors[0][index] + torch.rand(()) + random.random()


def loaders() -> dict[str, Any]:
    torch.manual_seed(7)
    random.seed(7)
    sampler = RandomSampler(IMAGES, generator=torch.Generator().manual_seed(1))
    own = data.loaders(data.load("digits", limit_train=100), 16)
    return {
        "global": DataLoader(IMAGES, 7, shuffle=True),
        "own generator": DataLoader(IMAGES, 7, shuffle=True, generator=torch.Generator().manual_seed(2)),
        "own sampler": DataLoader(IMAGES, 7, sampler=sampler),
        "augmented": DataLoader(Noisy(torch.arange(50.0)), 7, shuffle=True),
        "list": [(torch.full((2,), float(n)),) for n in range(6)],
        "epochs": own.train,
    }


def sums(batches: Any, draws: bool = True) -> list[float]:
    """Of the batches; the steps between them draw random numbers too."""
    found = []
    for batch in batches:
        tensor = batch[0] if isinstance(batch, list | tuple) else batch
        found.append(float(tensor.double().sum()) + (float(torch.rand(())) if draws else 0))
    return found


@pytest.mark.parametrize("kind", loaders())
@pytest.mark.parametrize("done", [0, 3, "all"])
def test_an_epoch_goes_on_in_its_middle(kind: str, done: int | str) -> None:
    loader = loaders()[kind]
    place = DataPosition(loader)
    sums(place)
    if done == "all":
        sums(place)
    elif done:
        batches = iter(place)
        for _ in range(int(done)):
            next(batches)
            torch.rand(())
    state, randomness = place.state_dict(), random_state([loader])
    expected = (sums(batches) if done == 3 else []) + sums(place) + sums(place)

    loader = loaders()[kind]
    other = DataPosition(loader)
    other.load_state_dict(state)
    put_back(randomness, [loader])
    found = (sums(other) if done == 3 else []) + sums(other) + sums(other)
    assert found == expected


@pytest.mark.parametrize("kind", loaders())
def test_looking_at_the_first_batch_leaves_no_trace(kind: str) -> None:
    loader = loaders()[kind]
    expected = sums(loader)
    loader = loaders()[kind]
    first_batch(loader)
    assert sums(loader) == expected


def test_a_loader_that_others_use_too_keeps_its_place() -> None:
    loader = data.loaders(data.load("digits", limit_train=100), 16).val
    place = DataPosition(loader, alone=False)
    batches = iter(place)
    next(batches)
    sums(loader)
    state = place.state_dict()
    expected = sums(batches, draws=False)
    again = DataPosition(data.loaders(data.load("digits", limit_train=100), 16).val, alone=False)
    again.load_state_dict(state)
    assert sums(again, draws=False) == expected


def test_a_batch_is_a_pair() -> None:
    assert pair([1, 2]) == pair((1, 2)) == (1, 2)
    for other in ((1, 2, 3), (1,), {"pixel_values": 1, "labels": 2}, torch.zeros(2, 3)):
        with pytest.raises(UserError, match="a pair of inputs and targets, not a "):
            pair(other)
    with pytest.raises(UserError, match="the test data give no batch"):
        first_batch([], "test")


def test_a_loader_without_a_length_is_named() -> None:
    check_length([], "training")
    with pytest.raises(UserError, match="the training data have no length"):
        check_length(iter([]), "training")  # type: ignore[arg-type]
