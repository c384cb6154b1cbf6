"""A small chain of convolutions, its space and a task that it can do, as fixtures."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

import dnal


def chain() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 3),
    )  # fmt: skip


@pytest.fixture
def network() -> nn.Module:
    return chain()


@pytest.fixture
def fresh_network() -> Callable[[], nn.Module]:
    """Makes the same network every time."""
    return chain


@pytest.fixture(scope="session")
def space() -> dnal.Space:
    return dnal.Space.of(chain(), torch.randn(2, 1, 6, 6))


@pytest.fixture(scope="session")
def batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    """A task that a few channels can do: which third of the image is bright."""
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(0, 3, (96,), generator=generator)
    x = 0.3 * torch.randn(96, 1, 6, 6, generator=generator)
    for i, label in enumerate(y.tolist()):
        x[i, :, 2 * label : 2 * label + 2] += 1
    return [(x[i : i + 24], y[i : i + 24]) for i in range(0, 96, 24)]
