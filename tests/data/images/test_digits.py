"""The embedded data set: sizes, strata, and what depends on the seed."""

import pytest
import torch
from torch import Tensor

from dnal import data
from dnal.data.dataset import Dataset, Part
from dnal.data.images.arrays import ArrayPart


def images(part: Part) -> Tensor:
    assert isinstance(part, ArrayPart)
    return part.x


def rows(part: Part) -> set[bytes]:
    return {x.numpy().tobytes() for x in images(part)}


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return data.load("digits")


def test_sizes(digits: Dataset) -> None:
    assert (len(digits.train), len(digits.val), len(digits.test)) == (1131, 126, 540)
    assert digits.classes == 10
    assert digits.class_names == tuple("0123456789")
    assert digits.input_shape == (1, 8, 8)


def test_every_part_is_stratified(digits: Dataset) -> None:
    whole = torch.bincount(torch.cat([digits.train.y, digits.val.y, digits.test.y]))
    for part in (digits.train, digits.val, digits.test):
        expected = whole * len(part) / whole.sum()
        assert (torch.bincount(part.y) - expected).abs().max() <= 2


def test_parts_are_disjoint(digits: Dataset) -> None:
    train, val, test = rows(digits.train), rows(digits.val), rows(digits.test)
    assert not train & val
    assert not train & test
    assert not val & test
    assert len(train | val | test) == 1797


def test_normalised_by_the_training_part(digits: Dataset) -> None:
    x, _ = ArrayPart(images(digits.train), digits.train.y, torch.tensor(digits.mean), torch.tensor(digits.std)).batch(
        torch.arange(len(digits.train)), 0
    )
    assert abs(x.mean()) < 1e-4
    assert abs(x.std() - 1) < 1e-3


def test_seed_draws_the_limited_training_part_and_nothing_else() -> None:
    one, two = data.load("digits", limit_train=200, seed=1), data.load("digits", limit_train=200, seed=2)
    assert len(one.train) == 200
    assert torch.bincount(one.train.y).min() >= 19
    assert not torch.equal(images(one.train), images(two.train))
    for part, other in ((one.val, two.val), (one.test, two.test)):
        assert torch.equal(images(part), images(other))
        assert torch.equal(part.y, other.y)
    again = data.load("digits", limit_train=200, seed=1)
    assert torch.equal(images(one.train), images(again.train))
    full = data.load("digits", seed=1)
    assert torch.equal(images(full.test), images(one.test))
    assert rows(one.train) <= rows(full.train)


def test_limit_of_everything_is_everything(digits: Dataset) -> None:
    assert torch.equal(images(data.load("digits", limit_train=1131, seed=3).train), images(digits.train))


@pytest.mark.parametrize("shape", [(1, 4, 4), (3, 8, 8), (1, 12, 12), (3, 32, 32)])
def test_other_input_shapes(shape: tuple[int, int, int]) -> None:
    x, y = next(iter(data.loaders(data.load("digits", input_shape=shape), 16).train))
    assert x.shape == (16, *shape)
    assert (x.dtype, y.dtype) == (torch.float32, torch.int64)
