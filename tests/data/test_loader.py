"""Loaders: order, augmentation, resumption, and that evaluation data stay as they are."""

import itertools

import pytest
import torch
from torch import Tensor

from dnal import data
from dnal.base.errors import UserError
from dnal.data.dataset import Dataset
from dnal.data.images.arrays import ArrayPart

Epoch = list[tuple[Tensor, Tensor]]


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return data.load("digits")


def same(one: Epoch, other: Epoch) -> bool:
    return len(one) == len(other) and all(
        torch.equal(x, u) and torch.equal(y, v) for (x, y), (u, v) in zip(one, other, strict=True)
    )


def test_batches(digits: Dataset) -> None:
    train, val, test = data.loaders(digits, 64)
    assert len(train) == len(list(train)) == 18
    assert (sum(len(y) for _, y in val), sum(len(y) for _, y in test)) == (126, 540)
    x, y = next(iter(train))
    assert (x.shape, x.dtype, y.shape, y.dtype) == ((64, 1, 8, 8), torch.float32, (64,), torch.int64)


def test_same_seed_same_batches_other_seed_other_order(digits: Dataset) -> None:
    one, two, other = (data.loaders(digits, 64, seed=seed).train for seed in (5, 5, 6))
    first = list(one)
    assert same(first, list(two))
    assert not same(first, list(other))
    second = list(one)
    assert not same(first, second)
    assert same(second, list(two))
    assert torch.equal(*(torch.cat([y for _, y in epoch]).bincount() for epoch in (first, second)))


def test_an_epoch_shows_every_image_once() -> None:
    plain = data.load("digits", augment=False)
    assert isinstance(plain.train, ArrayPart)
    seen = torch.cat([x for x, _ in data.loaders(plain, 64).train])
    everything, _ = plain.train.batch(torch.arange(len(plain.train)), 0)
    assert {x.numpy().tobytes() for x in seen} == {x.numpy().tobytes() for x in everything}


@pytest.mark.parametrize("stop", [0, 7, 18])
@pytest.mark.parametrize("workers", [0, 2])
def test_resumed_is_never_interrupted(digits: Dataset, stop: int, workers: int) -> None:
    whole = data.loaders(digits, 64, seed=3).train
    list(whole)
    second, third = list(whole), list(whole)

    interrupted = data.loaders(digits, 64, seed=3, workers=workers).train
    list(interrupted)
    before = list(itertools.islice(interrupted, stop)) if stop else []
    state = interrupted.state_dict()
    resumed = data.loaders(digits, 64, seed=3, workers=workers).train
    resumed.load_state_dict(state)
    if stop == 18:
        assert same(before, second)
    else:
        assert same(before + list(resumed), second)
    assert same(list(resumed), third)


def test_an_epoch_broken_off_is_followed_by_another(digits: Dataset) -> None:
    loader = data.loaders(digits, 64).train
    (_, one), (_, two) = next(iter(loader)), next(iter(loader))
    assert not torch.equal(one, two)


def test_a_state_of_other_data_is_refused(digits: Dataset) -> None:
    with pytest.raises(UserError, match="18 batches per epoch and cannot continue one of 36"):
        data.loaders(digits, 64).train.load_state_dict(data.loaders(digits, 32).train.state_dict())


def test_loading_leaves_the_global_random_numbers_alone(digits: Dataset) -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    for loader in data.loaders(digits, 64):
        list(loader)
    assert torch.equal(torch.rand(3), expected)


def test_evaluation_data_are_plain_and_in_order(digits: Dataset) -> None:
    _, val, test = data.loaders(digits, 50)
    for loader, part in ((val, digits.val), (test, digits.test)):
        assert isinstance(part, ArrayPart)
        expected = (part.x - digits.mean[0]) / digits.std[0]
        for _ in range(2):
            x, y = (torch.cat(parts) for parts in zip(*loader, strict=True))
            torch.testing.assert_close(x, expected)
            assert torch.equal(y, part.y)


def test_a_last_training_batch_of_one_is_left_out(digits: Dataset) -> None:
    train, val, _ = data.loaders(digits, 113, eval_batch_size=125)
    assert 1131 % 113 == 1
    assert [len(y) for _, y in train] == [113] * 10
    assert len(train) == 10
    assert [len(y) for _, y in val] == [125, 1]


@pytest.mark.parametrize("size", [0, -3])
def test_impossible_batch_sizes(digits: Dataset, size: int) -> None:
    with pytest.raises(UserError, match="batch size must be at least 1"):
        data.loaders(digits, size)
    with pytest.raises(UserError, match="batch size must be at least 1"):
        data.loaders(digits, 8, eval_batch_size=size)


def test_impossible_workers(digits: Dataset) -> None:
    with pytest.raises(UserError, match="workers must be 0 or more"):
        data.loaders(digits, 8, workers=-1)
