import pytest
import torch
from torch import Tensor, nn

from dnal.latency.backends import backend_of
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


class OfTwo(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(6, 3), nn.Linear(4, 3)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return self.left(left) + self.right(right)


def test_arguments_by_name_may_come_in_any_order() -> None:
    """An ONNX model has its inputs in the order of the network's own."""
    pytest.importorskip("onnxruntime")
    inputs = {"right": torch.randn(2, 4), "left": torch.randn(2, 6)}
    for backend in ("torch-cpu", "onnxruntime-cpu"):
        assert backend_of(backend).network(OfTwo().eval(), inputs)() > 0
