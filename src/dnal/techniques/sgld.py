"""Samples of the posterior by stochastic gradient Langevin dynamics, whose averaged predictions the network learns."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from dnal.base.errors import UserError
from dnal.base.options import option
from dnal.space.copying import deep_copy
from dnal.space.surgery.inputs import Inputs, batch_size
from dnal.space.surgery.running import call
from dnal.techniques.distillation import check_logits
from dnal.train.outputs import logits_of
from dnal.train.step import Step
from dnal.train.technique import Scene, Technique


@dataclass
class SGLD(Technique):
    """Stochastic gradient Langevin dynamics: the network learns the averaged predictions of posterior samples.

    Between the shares ``begin`` and ``end`` of a phase each step's gradient gets normal noise of variance
    2 T (1 - momentum) / (lr n), n training examples, so that SGD samples weights with a density of
    exp(-n (loss + decay |w|^2 / 2) / T): the posterior with the weight decay as prior, at T = 1. So many ``samples``
    are kept there, evenly spaced; before ``begin`` is the burn-in. Afterwards, without noise, the network learns the
    mean of their predicted probabilities, with ``weight`` of the loss, so that one ordinary network leaves. It is for
    classifiers, and SGD. Costs a copy of the network a sample, and a forward pass of each of them at every step after
    ``end``. Helps where labels are noisy or few. Sources: Welling and Teh, 2011; with momentum Chen et al., arXiv
    1402.4102; why mixtures, arXiv 2506.07661; that T below 1 predicts better, Wenzel et al., arXiv 2002.02405
    (recalled).
    """

    phases: ClassVar[tuple[str, ...]] = ("base", "retrain")

    temperature: float = option(0.1, "T, of the posterior; 0 takes samples of plain training.", least=0)
    samples: int = option(5, "Networks whose predictions are averaged.", least=1, most=1000)
    begin: float = option(0.5, "Share of the phase after which samples are drawn.", least=0, below=1)
    end: float = option(0.8, "Share of the phase after which the network learns their average.", above=0, below=1)
    weight: float = option(0.9, "Share of the average in the loss after that.", least=0, most=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.begin < self.end:
            raise UserError(f"sgld draws its samples from begin={self.begin:g} to end={self.end:g}; give a later end.")

    def check(self, outputs: Any) -> None:
        check_logits(outputs)

    def prepare(self, network: nn.Module, scene: Scene) -> None:
        self._network, self._members = network, list[nn.Module]()
        self._steps = max(1, scene.steps // max(1, scene.epochs))
        self._rows = 0
        first, last = (math.floor(share * scene.steps + 1e-9) for share in (self.begin, self.end))
        if last - first < self.samples:
            warnings.warn(
                f"sgld draws a sample a step at most, and {last - first or 'none'} of the {scene.steps} steps of the "
                f"phase '{scene.phase}' {'is' if last - first == 1 else 'are'} between begin={self.begin:g} and "
                f"end={self.end:g}, for {self.samples} samples; give more epochs, or fewer samples.",
                stacklevel=2,
            )

    def optimizer(self, optimizer: Optimizer) -> None:
        self.check_optimizer(optimizer)

    def check_optimizer(self, optimizer: Optimizer) -> None:
        if not isinstance(optimizer, SGD):
            raise UserError(
                f"sgld samples with SGD, and the optimizer is {type(optimizer).__name__}; give optimizer=sgd, or leave "
                "sgld out."
            )

    def loss(self, value: Tensor, batch: Any, outputs: Any, step: Step) -> Tensor:
        self._rows += batch_size(batch[0])
        if step.progress <= self.end or not self._members or not self.weight:
            return value
        with torch.no_grad():
            average = average_prediction(self._members, batch[0])
        said = F.log_softmax(logits_of(outputs), dim=1)
        # Of zero probability nothing is learnt; the entropy of the average is a constant.
        imitated = -(average * said).sum(1).mean()
        return (1 - self.weight) * value + self.weight * imitated

    def after_backward(self, step: Step) -> None:
        rows, self._rows = self._rows, 0
        if self.temperature and self.begin < step.progress <= self.end:
            step.unscale(step.optimizer)
            examples = rows * self._steps * step.fabric.world_size
            add_noise(step.optimizer.param_groups, examples, self.temperature)

    def after_step(self, step: Step) -> None:
        reached = min(1.0, (step.progress - self.begin) / (self.end - self.begin))
        while step.progress <= self.end + 1e-9 and len(self._members) < math.floor(reached * self.samples + 1e-9):
            self._members.append(deep_copy(self._network).eval().requires_grad_(False))

    def finish(self, network: nn.Module) -> None:
        self._members = []

    def state_dict(self) -> dict[str, Any]:
        return {"members": [member.state_dict() for member in self._members]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._members = []
        for values in state["members"]:
            member = deep_copy(self._network).eval().requires_grad_(False)
            member.load_state_dict(values)
            self._members.append(member)


@torch.no_grad()
def add_noise(groups: Iterable[dict[str, Any]], examples: int, temperature: float = 1.0) -> None:
    """Adds to the gradients the noise with which a step of SGD on the mean loss becomes one of Langevin dynamics on the
    sum over all examples.

    Call it between the backward pass and ``optimizer.step()``. Without momentum a step is then
    w - (eta / 2) grad U + sqrt(eta T) xi with U the loss of all n examples and eta = 2 lr / n.

    Args:
        groups: ``optimizer.param_groups`` of a torch.optim.SGD, whose lr and momentum count; parameters without a
            gradient are left out.
        examples: n, on which the network is trained. temperature: T.

    Examples:
        >>> import torch
        >>> weight = torch.nn.Parameter(torch.zeros(100_000))
        >>> weight.grad = torch.zeros_like(weight)
        >>> add_noise([{"params": [weight], "lr": 0.1, "momentum": 0.9}], 500)  # variance 2 (1 - 0.9) / (0.1 500)
        >>> round(float(weight.grad.var()), 3)
        0.004
    """
    for group in groups:
        if not group["lr"]:
            continue
        deviation = math.sqrt(2 * temperature * (1 - group["momentum"]) / (group["lr"] * examples))
        for parameter in group["params"]:
            if parameter.grad is not None:
                parameter.grad.add_(torch.randn_like(parameter.grad), alpha=deviation)


def average_prediction(networks: Sequence[nn.Module], inputs: Inputs) -> Tensor:
    """The mean of the probabilities that networks give, (N, classes, ...); not that of their logits or weights.

    Args:
        networks: in the mode in which they shall run.

    Examples:
        >>> import torch
        >>> one, other = (torch.nn.Linear(1, 2) for _ in range(2))
        >>> average_prediction([one, other], torch.zeros(3, 1)).sum(1)
        tensor([1., 1., 1.], grad_fn=<SumBackward1>)
    """
    said = [F.softmax(logits_of(call(network, inputs)), dim=1) for network in networks]
    return torch.stack(said).mean(0)
