"""SGLD against the posterior that it samples, and the average that the network learns."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import dnal
from cli_program import SHORT, Program
from dnal.base.errors import UserError
from dnal.techniques.sgld import SGLD, add_noise, average_prediction
from dnal.train.technique import Scene


@pytest.mark.parametrize(("momentum", "temperature"), [(0.0, 1.0), (0.0, 0.25), (0.9, 1.0)])
def test_it_samples_the_posterior_of_a_gaussian(momentum: float, temperature: float) -> None:
    """The loss h (w - 2)^2 / 2 of n examples with a decay d: normal, with mean 2 h / (h + d) and variance
    T / (n (h + d)). Every weight is a chain of its own."""
    torch.manual_seed(0)
    n, h, decay = 50, 1.0, 0.25
    weight = nn.Parameter(torch.zeros(20_000))
    optimizer = torch.optim.SGD([weight], lr=0.002 if momentum else 0.02, momentum=momentum, weight_decay=decay,
                                nesterov=momentum > 0)  # fmt: skip
    for _ in range(500):
        optimizer.zero_grad()
        (h * (weight - 2).square() / 2).sum().backward()  # a loss of each chain
        add_noise(optimizer.param_groups, n, temperature)
        optimizer.step()
    weight.requires_grad_(False)
    assert float(weight.mean()) == pytest.approx(2 * h / (h + decay), rel=0.01)
    assert float(weight.var()) == pytest.approx(temperature / (n * (h + decay)), rel=0.05)


def test_probabilities_are_averaged_and_not_logits() -> None:
    class Says(nn.Module):
        def __init__(self, logits: list[float]) -> None:
            super().__init__()
            self.logits = torch.tensor([logits])

        def forward(self, x: Tensor) -> Tensor:
            return self.logits.expand(len(x), -1)

    sure, unsure = Says([math.log(9.0), 0.0]), Says([0.0, 0.0])
    assert average_prediction([sure, unsure], torch.zeros(2, 1))[0].tolist() == pytest.approx([0.7, 0.3])


class Steps:
    """What a technique reads of a step."""

    def __init__(self, network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self.network, self.optimizer, self.progress = network, optimizer, 0.0
        self.fabric: Any = type("Alone", (), {"world_size": 1})

    def unscale(self, optimizer: torch.optim.Optimizer) -> None:
        pass


def test_samples_are_drawn_in_their_part_of_the_phase_and_learnt_afterwards() -> None:
    torch.manual_seed(0)
    network = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    technique = SGLD(samples=3, begin=0.4, end=0.7, weight=1.0, temperature=1.0)
    technique.prepare(network, Scene("base", 2, 20))
    technique.optimizer(optimizer)
    step: Any = Steps(network, optimizer)
    x, y = torch.randn(8, 3), torch.arange(8) % 2
    members, noisy = [], []
    for number in range(1, 21):
        step.progress = number / 20
        optimizer.zero_grad()
        outputs = network(x)
        plain = nn.functional.cross_entropy(outputs, y)
        loss = technique.loss(plain, (x, y), outputs, step)
        if step.progress > 0.7:
            average = average_prediction(technique._members, x)
            assert float(loss) == pytest.approx(float(nn.functional.cross_entropy(outputs, average)), rel=1e-5)
        else:
            assert loss is plain
        loss.backward()
        before = network.weight.grad.clone()  # type: ignore[union-attr]
        technique.after_backward(step)
        noisy.append(not torch.equal(before, network.weight.grad))  # type: ignore[arg-type]
        optimizer.step()
        technique.after_step(step)
        members.append(len(technique._members))
    assert members == [0] * 9 + [1, 1, 2, 2] + [3] * 7
    assert noisy == [False] * 8 + [True] * 6 + [False] * 6
    other = SGLD(samples=3)
    other.prepare(network, Scene("base", 2, 20))
    other.load_state_dict(technique.state_dict())
    assert torch.equal(average_prediction(other._members, x), average_prediction(technique._members, x))


def test_what_it_cannot_sample_with_is_refused() -> None:
    with pytest.raises(UserError, match="samples with SGD"):
        SGLD().optimizer(torch.optim.Adam(nn.Linear(2, 2).parameters()))
    with pytest.raises(UserError, match="later end"):
        SGLD(begin=0.8, end=0.5)
    with pytest.raises(UserError, match="temperature is 0 or more"):
        SGLD(temperature=-1.0)
    with pytest.raises(UserError, match="begin is a number"):
        SGLD(begin="early")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="logits"):
        SGLD().check(torch.zeros(4, 1))


def test_another_optimizer_is_refused_before_anything_is_written(here: Path, dnal: Program) -> None:
    answer = dnal("learn", "--with", "sgld", "--optimizer", "adamw", *SHORT, "--out", "run")
    assert answer.status == 2
    assert "samples with SGD" in answer.err
    assert not (here / "run").exists()


def test_a_phase_with_fewer_steps_than_samples_is_told() -> None:
    network = nn.Linear(3, 2)
    with pytest.warns(UserWarning, match="none of the 1 steps of the phase 'base' are between begin=0.5"):
        SGLD(samples=1).prepare(network, Scene("base", 1, 1))
    with pytest.warns(UserWarning, match="3 of the 10 steps of the phase 'base' are between"):
        SGLD(samples=4).prepare(network, Scene("base", 1, 10))
    with warnings.catch_warnings(action="error"):
        SGLD(samples=3).prepare(network, Scene("base", 1, 10))


def test_an_ordinary_network_leaves() -> None:
    torch.manual_seed(0)
    data = dnal.data.loaders(dnal.data.load("digits", limit_train=200), 50)
    network = dnal.models.create("vgg_small", classes=10, input_shape=(1, 8, 8))
    keys = network.state_dict().keys()
    found = dnal.learn(
        network, data.train, data.val, data.test, "macs<=60%", method="uniform", epochs=(2, 0, 2), lr=0.02,
        techniques=["sgld:samples=2"],
    )  # fmt: skip
    assert found.network.state_dict().keys() == keys
    assert all(bool(value.isfinite().all()) for value in found.network.state_dict().values())
