"""The small network and batch that tests of self-tuning share."""

import torch
from torch import Tensor, nn


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout2d(), nn.Flatten(), nn.Linear(64, 8), nn.ReLU(),
        nn.Dropout(0.5), nn.Linear(8, 3),
    )  # fmt: skip


def batch(size: int = 12) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(1)
    return torch.randn(size, 1, 6, 6, generator=draw), torch.randint(3, (size,), generator=draw)
