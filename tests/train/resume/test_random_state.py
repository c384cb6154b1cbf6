import random
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, RandomSampler, TensorDataset

from dnal.train.resume.random_state import put_back, random_state
from dnal.train.resume.tree import packed, unpacked


def draws(loaders: list[Any]) -> list[Any]:
    numbers: list[Any] = [random.random(), float(np.random.rand()), np.random.randn(), float(torch.rand(()))]
    return numbers + [[batch[0].double().sum().item() for batch in loader] for loader in loaders]


def test_everything_random_continues_as_it_was_each_time_through_a_file_too() -> None:
    images = TensorDataset(torch.arange(50.0))
    sampler = RandomSampler(images, generator=torch.Generator().manual_seed(1))
    loaders = [
        DataLoader(images, 7, shuffle=True),
        DataLoader(images, 7, shuffle=True, generator=torch.Generator().manual_seed(2)),
        DataLoader(images, 7, sampler=sampler),
    ]
    draws(loaders)
    state = unpacked(*packed(random_state(loaders)))
    first = draws(loaders)
    assert draws(loaders) != first
    for _ in range(2):
        put_back(state, loaders)
        assert draws(loaders) == first
