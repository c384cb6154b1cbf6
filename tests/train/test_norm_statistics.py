"""New statistics of batch norms: the mean over the batches, from nothing."""

from __future__ import annotations

import torch
from torch import nn

from dnal.train.norm_statistics import renew_statistics


def test_they_are_the_mean_over_the_batches_whatever_they_were() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Dropout(0.5)).eval()
    network(torch.randn(4, 1, 6, 6))
    network[1].running_mean.fill_(7.0)
    batches = [(torch.randn(8, 1, 6, 6) + shift, torch.zeros(8)) for shift in (0.0, 1.0, 5.0)]
    renew_statistics(network, batches)
    read = [network[0](inputs) for inputs, _ in batches]
    assert torch.allclose(network[1].running_mean, torch.stack([x.mean((0, 2, 3)) for x in read]).mean(0), atol=1e-5)
    assert torch.allclose(network[1].running_var, torch.stack([x.var((0, 2, 3)) for x in read]).mean(0), atol=1e-5)
    assert not network.training
    assert network[1].momentum == 0.1


def test_a_mapping_of_inputs_and_labels_is_a_batch_too() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(2)

        def forward(self, values: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.norm(values)
            return out

    network = Named()
    renew_statistics(network, [{"values": torch.full((4, 2), 3.0), "labels": torch.zeros(4)}])
    assert torch.equal(network.norm.running_mean, torch.full((2,), 3.0))
