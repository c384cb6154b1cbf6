import torch
from torch import Tensor, nn

from dnal.train.evaluate import accuracy


class Batches(list[tuple[Tensor, Tensor]]):
    pass


def test_accuracy_counts_over_uneven_batches_and_restores_modes() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(0.9), nn.Linear(4, 3)).train()
    network[0].eval()
    x, y = torch.randn(7, 4), torch.randint(0, 3, (7,))
    got = accuracy(network, Batches([(x[:5], y[:5]), (x[5:], y[5:])]))
    assert [m.training for m in network] == [False, True, True]
    network.eval()
    assert got == float((network(x).argmax(1) == y).double().mean().float())
