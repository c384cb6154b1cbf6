import pytest
import torch
from torch import Tensor, nn

from dnal.base.errors import UserError
from dnal.train.evaluate import accuracy, accuracy_and_confusion, check_classified, measured


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


@pytest.mark.parametrize("positions", [(), (5,), (4, 3)])
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8])
def test_ignored_targets_count_nowhere(positions: tuple[int, ...], dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    batches = Batches((torch.randn(6, 4, *positions), torch.randint(0, 4, (6, *positions)).to(dtype)) for _ in range(2))
    if dtype != torch.uint8:
        batches[0][1][:3] = batches[1][1][-1] = -100
    got, matrix = accuracy_and_confusion(nn.Identity(), batches)
    expected, right, count = torch.zeros(4, 4, dtype=torch.int64), 0, 0
    for outputs, targets in batches:
        for truth, found in zip(targets.flatten().tolist(), outputs.argmax(1).flatten().tolist(), strict=True):
            if truth != -100:
                expected[truth, found] += 1
                right, count = right + (truth == found), count + 1
    assert matrix is not None
    assert torch.equal(matrix, expected)
    assert got == accuracy(nn.Identity(), batches) == pytest.approx(right / count)


@pytest.mark.parametrize(
    ("outputs", "targets"),
    [
        (torch.randn(4, 1), torch.randint(0, 2, (4, 1))),  # binary
        (torch.randn(4, 3), torch.rand(4, 3)),  # probabilities, or several labels
        (torch.randn(4, 3), torch.randint(0, 2, (4, 3))),  # one-hot
        (torch.randn(4, 3), torch.randn(4)),  # regression
        (torch.randn(4), torch.randint(0, 2, (4,))),
        (torch.randn(4, 3, 2, 2), torch.randint(0, 3, (4, 2, 1))),
        ({"logits": torch.randn(4, 3)}, torch.randint(0, 3, (4,))),
        ((torch.randn(4, 3), torch.randn(4, 3)), torch.randint(0, 3, (4,))),
        (torch.randn(4, 3), [0, 1, 2, 0]),
        (torch.randn(4, 3), torch.tensor([0, 1, 2, 3])),
        (torch.randn(4, 3), torch.tensor([0, 1, 2, -1])),
        (torch.randn(4, 3), torch.tensor([0, 1, 2, 156], dtype=torch.uint8)),  # 256 - 100
    ],
)
def test_what_accuracy_says_nothing_of_asks_for_a_metric(outputs: object, targets: object) -> None:
    with pytest.raises(UserError, match="a metric"):
        check_classified(outputs, targets)


def test_a_strange_target_of_any_batch_is_told() -> None:
    batches = Batches([(torch.randn(2, 3), torch.tensor([0, 2])), (torch.randn(2, 3), torch.tensor([1, 255]))])
    with pytest.raises(UserError, match="a target is 255, where the network tells the classes 0 to 2 apart"):
        accuracy(nn.Identity(), batches)


def test_a_network_goes_on_as_before_whatever_a_metric_did_to_it() -> None:
    network = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 3)).train()
    network[0].eval()
    network[1].bias.requires_grad_(False)

    def metric(network: nn.Module, loader: object) -> Tensor:
        network.eval().requires_grad_(False)
        network[0].train()
        return torch.tensor([0.25])

    assert measured(metric, network, Batches()) == 0.25
    assert [m.training for m in network.modules()] == [True, False, True]
    assert [p.requires_grad for p in network.parameters()] == [True, True, True, False]


@pytest.mark.parametrize("said", [None, (0.5, 0.1), {"accuracy": 0.5}, torch.zeros(2)])
def test_a_metric_that_says_no_number_is_told(said: object) -> None:
    with pytest.raises(UserError, match="the metric must return one number, higher is better, not a"):
        measured(lambda network, loader: said, nn.Linear(2, 2), Batches())
