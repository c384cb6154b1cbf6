from typing import Any

import pytest
import torch
import torch.nn.functional as F
from lightning.fabric import Fabric
from torch import Tensor, nn

import dnal
from dnal.gates.gated import Gated
from dnal.methods import paper
from dnal.train.listener import Listener
from dnal.train.phase import Context, Phase

Batches = list[tuple[torch.Tensor, torch.Tensor]]


class Watch(Listener):
    def __init__(self, gated: Gated) -> None:
        self.gated, self.deltas, self.first = gated, [], None

    def step(self, loss: float) -> None:
        self.deltas.append(self.gated.delta)

    def phase(self, name: str, epochs: int, steps_per_epoch: int) -> None:
        self.first = self.gated.s.detach().clone()


def run(network: nn.Module, space: dnal.Space, batches: Batches, lambda_: float, **more: Any) -> tuple[Tensor, Watch]:
    gated = Gated(network, space, start=0.7)
    watch = Watch(gated)
    context = Context(Fabric(accelerator="cpu", devices=1), batches, F.cross_entropy, listener=watch, **more)
    s = paper.search(gated, space, Phase("architecture", 10, 0.01), context, lambda_)
    return s, watch


def test_the_schedule_of_the_paper(network: nn.Module, space: dnal.Space, batches: Batches) -> None:
    _, watch = run(network, space, batches, 1e-3)
    per_epoch = [watch.deltas[i * len(batches) : (i + 1) * len(batches)] for i in range(10)]
    assert all(len(set(deltas)) == 1 for deltas in per_epoch)
    assert [deltas[0] for deltas in per_epoch] == pytest.approx([10 ** (4 * k / 10) for k in range(1, 11)])
    assert per_epoch[0][0] == pytest.approx(2.5, abs=0.02)  # the paper's first of ten epochs
    assert per_epoch[-1][0] == pytest.approx(1e4)
    assert watch.first is not None
    assert bool((watch.first == 0).all())


def test_weights_are_frozen_bit_for_bit_and_trainable_again(
    network: nn.Module, space: dnal.Space, batches: Batches
) -> None:
    network[0].bias.requires_grad_(False)
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    statistics = network[1].running_mean.clone()
    s, _ = run(network, space, batches, 1e-3)
    assert all(torch.equal(before[name], p) for name, p in network.named_parameters())
    assert not torch.equal(statistics, network[1].running_mean)  # batch norm stays in training mode
    assert float(s.abs().max()) > 0
    assert [n for n, p in network.named_parameters() if not p.requires_grad] == ["0.bias"]


def test_the_first_step_by_hand(network: nn.Module, space: dnal.Space, batches: Batches) -> None:
    """SGD, lr .01, no decay, on task loss + lambda * sum sigmoid(s), with delta of the first epoch."""
    gated = Gated(network, space)
    gated.train()
    optimizer = paper.architecture_optimizer(gated)
    gated.delta = paper.delta_of_epoch(1, 10)
    loss = F.cross_entropy(gated(batches[0][0]), batches[0][1])
    (slope,) = torch.autograd.grad(loss, gated.s, retain_graph=True)
    (loss + paper.penalty(gated.s, 0.02)).backward()
    optimizer.step()
    assert torch.allclose(gated.s, -0.01 * (slope + 0.02 * 0.25), atol=1e-8)
    settings = optimizer.param_groups[0]
    assert (settings["lr"], settings["momentum"], settings["weight_decay"]) == (0.01, 0.9, 0.0)
    assert optimizer.param_groups[0]["params"] == [gated.s]


def test_a_larger_lambda_closes_more_and_no_group_dies(network: nn.Module, space: dnal.Space, batches: Batches) -> None:
    counts = []
    for lambda_ in (0.0, 0.03, 10.0):
        s, _ = run(network, space, batches, lambda_)
        chosen = paper.chosen(space, s, 1e4)
        assert all(bool(chosen[g.variables].any()) for g in space.groups)
        counts.append(int(chosen.sum()))
    assert counts[0] > counts[1] > counts[2] == len(space.groups)


def test_the_threshold_is_a_gate_of_nine_tenths(space: dnal.Space) -> None:
    s = torch.linspace(-1, 1, space.num_variables)
    chosen = paper.chosen(space, s, 5.0)
    expected = torch.sigmoid(5 * s) > 0.9
    extra = chosen & ~expected  # only the best of a group that would be empty
    assert bool((chosen | ~expected).all())
    assert int(extra.sum()) <= len(space.groups)
