import torch
from torch import nn

from dnal.latency.backends.torch_backends import TorchCpu
from dnal.latency.measure import medians


def test_more_work_takes_longer_and_modes_are_restored() -> None:
    small, large = nn.Linear(8, 8), nn.Sequential(*[nn.Linear(1500, 1500) for _ in range(4)])
    narrow = nn.Sequential(nn.Linear(1500, 8), small)
    large.train()
    inputs = torch.randn(16, 1500)
    times = medians([TorchCpu().network(network, inputs) for network in (narrow, large)], least=9)
    assert 0 < times[0] < times[1]
    assert large.training
