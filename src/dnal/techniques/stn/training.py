"""The alternating training of weights and hyperparameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dnal.base.errors import UserError
from dnal.techniques.stn.hyperparameters import Hyperparameter
from dnal.techniques.stn.network import ENTROPY, SCALE, SelfTuning
from dnal.train.loader import Loader, endless
from dnal.train.outputs import task_loss
from dnal.train.rows import to_device


@dataclass
class SelfTuned:
    """What :func:`self_tuning` found.

    Attributes:
        network: an ordinary one, with the weights and the dropout of the last hyperparameters, in eval mode.
        values: these, by name.
        schedule: of every validation step its number of training steps before, the validation loss without the
            entropy, each hyperparameter by its name, and how far those of examples are from it, by NAME_scale.
        tuning: the network that answers to them.
    """

    network: nn.Module
    values: dict[str, float]
    schedule: list[dict[str, float]]
    tuning: SelfTuning


def self_tuning(
    network: nn.Module,
    hyperparameters: Sequence[str | Hyperparameter],
    train: Loader,
    val: Loader,
    steps: int,
    *,
    optimizer: Callable[[list[nn.Parameter]], torch.optim.Optimizer] | None = None,
    warmup: int = 0,
    every: int = 2,
    rate: float = 3e-3,
    scale: float = SCALE,
    tunes_scale: bool = True,
    entropy: float = ENTROPY,
    loss: Callable[[Any, Any], Tensor] = task_loss,
    seed: int = 0,
) -> SelfTuned:
    """Trains a network and tunes hyperparameters of its regularisation, in one training.

    After a warmup, every few training steps one validation step moves the hyperparameters along the gradient of the
    validation loss, which flows by the layers' answers to them alone, so that discrete ones can be tuned too. Costs
    about twice a plain training step, and a forward and backward pass of a validation batch each time. Hyperparameters
    of the optimizer, such as the learning rate, cannot be tuned so. What leaves is an ordinary network; its schedule is
    often worth more than its last value, says the paper.

    Args:
        network: stays as it is. hyperparameters: as of :class:`SelfTuning`.
        train, val: batches of inputs and targets, drawn again and again.
        steps: training steps, those of the warmup among them.
        optimizer: of the weights; by default SGD with a learning rate of 0.01 and momentum 0.9.
        warmup: training steps before the first validation step. every: training steps for each one.
        rate: Adam's, of the hyperparameters. scale: of their perturbation at the start.
        tunes_scale: whether that is tuned too. entropy: tau, which keeps it from 0.
        loss: (outputs, targets) -> scalar. seed: of the draws; the global random state stays as it is.

    Raises:
        UserError: as of :class:`SelfTuning`, no step, no data, or a loss that is no number.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from dnal.techniques import self_tuning
        >>> network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 3))
        >>> batch = torch.randn(6, 4), torch.arange(6) % 3
        >>> found = self_tuning(network, ["dropout", "input-noise"], [batch], [batch], 6)
        >>> len(found.schedule), sorted(found.values)
        (3, ['dropout', 'input-noise'])

    Source: MacKay et al., arXiv 1903.03088, with the published code (two training steps for each validation step, Adam
    with 0.003, tau of 0.001).
    """
    if steps < 1 or every < 1 or warmup < 0 or not rate > 0:
        raise UserError("self-tuning takes one step or more, every step or more seldom, and a rate above 0.")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        tuning = SelfTuning(network, hyperparameters, scale=scale, entropy=entropy, loss=loss)
        weights = tuning.weights()
        descent = torch.optim.SGD(weights, 0.01, momentum=0.9) if optimizer is None else optimizer(weights)
        tuned = [tuning.free, tuning.rho] if tunes_scale else [tuning.free]
        ascent, device = torch.optim.Adam(tuned, rate), tuning.free.device
        training, validation = endless(train), endless(val)
        schedule: list[dict[str, float]] = []
        tuning.network.train()
        for step in range(1, steps + 1):
            _step(descent, tuning.training_loss(to_device(next(training), device)), step)
            if step > warmup and (step - warmup) % every == 0:
                value = tuning.validation_loss(to_device(next(validation), device))
                told = float(value.detach() + entropy * tuning.entropy().detach())
                _step(ascent, value, step)
                scales = {f"{name}_scale": own for name, own in tuning.scales().items()}
                schedule.append({"step": step, "loss": told, **tuning.values(), **scales})
    return SelfTuned(tuning.folded().eval(), tuning.values(), schedule, tuning)


def _step(optimizer: torch.optim.Optimizer, loss: Tensor, step: int) -> None:
    if not math.isfinite(float(loss.detach())):
        raise UserError(f"the loss became {float(loss.detach())} in step {step} of self-tuning; take a smaller rate.")
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
