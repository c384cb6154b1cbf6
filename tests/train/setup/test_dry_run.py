import copy
import random
import warnings
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnal.base.errors import UserError
from dnal.techniques.distillation import Distillation
from dnal.train.evaluate import accuracy
from dnal.train.setup.dry_run import answer, check, examples, outputs, step, twins


class Unsteady(nn.Module):
    """Whatever a pass can leave behind: statistics, all random states, its own inputs changed in place."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.drop, self.conv = nn.BatchNorm2d(3), nn.Dropout(), nn.Conv2d(3, 4, 2)
        self.passes = 0

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        x += random.random() + np.random.rand()
        return self.drop(self.conv(self.norm(x))).mean((2, 3))


def test_a_trial_leaves_no_trace() -> None:
    network, x, y = Unsteady(), torch.randn(2, 3, 4, 4), torch.tensor([0, 1])
    network.norm.eval()
    before, own = copy.deepcopy(network.state_dict()), x.clone()
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    for training in (True, False):
        found = outputs(network, x, training=training)
        assert found.shape == (2, 4)
        assert not found.requires_grad
    step(network, x, y, F.cross_entropy, torch.channels_last)
    answer(network, x, torch.channels_last)
    check(network, (x, y), F.cross_entropy, accuracy, [Distillation()])
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == states
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert network.conv.weight.is_contiguous()
    assert torch.equal(x, own)
    assert [network.passes, network.training, network.norm.training] == [0, True, False]


@pytest.mark.parametrize("given", [1, 2, 5])
def test_two_examples_of_inputs_and_whatever_targets(given: int) -> None:
    targets = {"masks": torch.arange(given), "sizes": [torch.arange(given) + 1], "classes": 7}
    inputs, cut = examples((torch.randn(given, 3), targets))
    assert inputs.shape == (2, 3)
    assert [cut["masks"].tolist(), cut["sizes"][0].tolist()] == [[0, min(given, 2) - 1], [1, min(given, 2)]]
    assert cut["classes"] == 7


def test_a_loss_sees_outputs_and_targets_of_the_same_examples() -> None:
    """As many of both, whatever the targets are: a row each, an entry each, or all of them in another way."""
    seen: list[tuple[int, int]] = []

    def loss(outputs: Tensor, targets: Any) -> Tensor:
        boxes = targets if isinstance(targets, Tensor) else torch.cat([t["boxes"] for t in targets])
        of = boxes[:, 0].long() if isinstance(targets, Tensor) else torch.arange(len(targets))
        assert int(of.max()) == len(outputs) - 1
        seen.append((len(outputs), len(boxes)))
        return outputs.sum() + boxes.sum()

    network, x = nn.Linear(3, 2), torch.randn(5, 3)
    stacked = torch.tensor([[0.0, 1.0], [0.0, 2.0], [2.0, 3.0], [4.0, 4.0], [1.0, 2.0], [3.0, 2.0]])
    listed = [{"boxes": torch.randn(n, 2)} for n in (1, 2, 0, 3, 1)]
    for targets, expected in ((stacked, (5, 6)), (listed, (2, 3)), (tuple(listed), (2, 3))):
        seen.clear()
        check(network, (x, targets), loss, lambda network, loader: 0.0)
        assert seen == [expected]
        step(network, *examples((x, targets)), loss, torch.contiguous_format)
        assert seen == [expected] * 2


def test_what_the_network_itself_raises_is_left_to_the_training() -> None:
    class Picky(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            raise ValueError("not this one")

    check(Picky(2, 2), (torch.randn(2, 2), torch.tensor([0, 1])), F.cross_entropy, accuracy, [Distillation()])


def test_only_the_defaults_are_held_against_the_outputs() -> None:
    class Told(nn.Linear):
        """An auxiliary output in training, as in GoogLeNet."""

        def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
            logits = super().forward(x)
            return (logits, logits) if self.training else logits

    def own(outputs: object, targets: object) -> Tensor:
        raise AssertionError("it was asked")

    network, batch = Told(2, 2), (torch.randn(2, 2), torch.tensor([0, 1]))
    check(network, batch, own, accuracy)
    check(network, (batch[0], "anything"), own, lambda network, loader: 0.0)
    with pytest.raises(UserError, match="not of a tuple of 2; give a loss"):
        check(network, batch, F.cross_entropy, accuracy)
    with pytest.raises(UserError, match="not a tuple of 2; leave distillation out"):
        check(network, batch, own, accuracy, [Distillation()])


@pytest.mark.parametrize(
    ("classes", "targets"),
    [
        (1, torch.rand(2, 1)),  # a regression
        (3, torch.tensor([[0], [1]])),
        (3, torch.tensor([0, 1], dtype=torch.int32)),
        (3, torch.tensor([True, False])),
        (3, torch.rand(2)),
        (3, torch.tensor([0, 3])),
        (3, [0, 1]),
    ],
)
def test_targets_that_cross_entropy_cannot_take_ask_for_a_loss(classes: int, targets: object) -> None:
    batch = torch.randn(2, 2), targets
    with pytest.raises(UserError, match=r"cross entropy, the default loss, .*give a loss"):
        check(nn.Linear(2, classes), batch, F.cross_entropy, lambda network, loader: 0.0, [Distillation()])
    probabilities = torch.full((2, 3), 1 / 3)
    check(nn.Linear(2, 3), (batch[0], probabilities), F.cross_entropy, lambda network, loader: 0.0, [Distillation()])


class Counting:
    """A loss that is no module, counts its calls and looks at the network."""

    def __init__(self, network: nn.Linear) -> None:
        self.network, self.calls = network, 0

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        self.calls += 1
        targets.clamp_(max=0)  # in place, as one that maps classes
        return F.cross_entropy(outputs, targets) + self.network.weight.square().sum()

    def method(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self(outputs, targets)


def test_a_loss_of_any_kind_remembers_nothing_of_a_trial() -> None:
    network = nn.Linear(2, 2)
    loss = Counting(network)
    targets = torch.arange(2)
    for own in (loss, loss.method):
        step(network, torch.randn(2, 2), targets, own, torch.contiguous_format)
        own_network, copied = twins(network, own)
        assert getattr(copied, "__self__", copied).network is own_network
    assert (loss.calls, targets.tolist()) == (0, [0, 1])
    loss.kept = (number for number in range(3))  # a generator cannot be copied
    step(network, torch.randn(2, 2), torch.arange(2), loss, torch.contiguous_format)
    assert loss.calls == 1


@pytest.mark.parametrize(
    ("loss", "told"),
    [
        (nn.CrossEntropyLoss(reduction="none"), r"not a tensor \(2,\) of float32"),
        (lambda outputs, targets: (F.cross_entropy(outputs, targets), outputs), "not a tuple of 2"),
        (lambda outputs, targets: 0.5, "not a float"),
    ],
)
def test_a_loss_that_returns_no_scalar_is_refused(loss: Any, told: str) -> None:
    batch = torch.randn(2, 2), torch.tensor([0, 1])
    with pytest.raises(UserError, match=f"the loss must return one number as a tensor, {told}"):
        check(nn.Linear(2, 2), batch, loss, accuracy)
    with pytest.raises(UserError, match=r"an instance of it, such as CrossEntropyLoss\(\)"):
        check(nn.Linear(2, 2), batch, nn.CrossEntropyLoss, accuracy)


def test_parameters_of_a_loss_are_not_trained_in_silence() -> None:
    class Weighted(nn.Module):
        def __init__(self, network: nn.Module | None) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(())) if network is None else network.weight

        def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
            return F.cross_entropy(outputs * self.scale.mean(), targets)

    network, batch = nn.Linear(2, 2), (torch.randn(2, 2), torch.tensor([0, 1]))
    with pytest.warns(UserWarning, match="the loss has parameters"):
        check(network, batch, Weighted(None), accuracy)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check(network, batch, Weighted(network), accuracy)
