import random
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, RandomSampler, TensorDataset

from dnal import data
from dnal.train.random_state import remembered


def draws(loaders: list[Any]) -> list[Any]:
    numbers: list[Any] = [random.random(), float(np.random.rand()), float(torch.rand(()))]
    return numbers + [[batch[0].double().sum().item() for batch in loader] for loader in loaders]


def test_everything_random_continues_as_it_was_each_time() -> None:
    images = TensorDataset(torch.arange(50.0))
    sampler = RandomSampler(images, generator=torch.Generator().manual_seed(1))
    own = data.loaders(data.load("digits", limit_train=100), 32)
    loaders = [
        DataLoader(images, 7, shuffle=True),
        DataLoader(images, 7, shuffle=True, generator=torch.Generator().manual_seed(2)),
        DataLoader(images, 7, sampler=sampler),
        own.train,
        own.val,
    ]
    draws(loaders)
    restore = remembered(loaders)
    first = draws(loaders)
    assert draws(loaders) != first
    for _ in range(2):
        restore()
        assert draws(loaders) == first
