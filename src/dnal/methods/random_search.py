"""Random search in node space (arXiv 2403.08265): of many random sub-networks, the one that starts lowest.

N architectures with the same share of every group at random positions, all within the budget; of each the mean loss of
the network as it stands, on the same samples, in eval mode, nothing trained; the least is kept. The paper finds that
this is no better than one random architecture, and so do we (``dnal study random-search``).

What differs from the paper, whose algorithm is only described in words:

* There the network is at its initialisation, and the weights that were searched are those trained afterwards. In
  :func:`dnal.learn` that is ``epochs=(0, ..., ...)``; else it is the trained base that is searched. With
  ``reinitialize=True`` the sub-network gets other weights than those that were searched.
* Convolutions too: a node is a channel variable. Branches all stay where the budget lets them.
* N = 200, and 1,000 validation samples or all there are, are ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dnal.architecture.architecture import Architecture
from dnal.architecture.compact import compact
from dnal.base.options import option
from dnal.changes.removal import Removal
from dnal.methods.method import Method
from dnal.methods.task import Task
from dnal.methods.uniform import random_scores, uniform_scores
from dnal.space.space import Space
from dnal.space.surgery.inputs import batch_size
from dnal.space.surgery.running import call
from dnal.train.batch import split
from dnal.train.loader import Loader
from dnal.train.phase import Loss
from dnal.train.rows import to_device

CANDIDATES = 200
SAMPLES = 1000


class Found(NamedTuple):
    """``open_variables``: the best architecture, bool, (num_gates,). ``losses``: of every candidate, (N,): the evidence
    of how much there was to choose."""

    open_variables: Tensor
    losses: Tensor


def random_search(
    network: nn.Module,
    space: Space,
    select: Callable[[Tensor], Tensor],
    batches: Loader,
    loss: Loss,
    *,
    candidates: int = CANDIDATES,
    samples: int = SAMPLES,
    seed: int = 0,
) -> Found:
    """The random architecture with the least loss at the network's weights; the network stays as it is.

    Args:
        select: (scores (num_gates,)) -> the variables that stay (bool), within the budget.
        batches: of (inputs, targets), the first ones with ``samples`` samples, or all; the same for every candidate.
        loss: (outputs, targets) -> the mean over a batch.
        seed: of the candidates; the global random state is left alone.
    """
    device = next(network.parameters()).device
    held = _first(batches, samples, device)
    best, losses = torch.empty(0), []
    for number in range(candidates):
        # No candidate is the one of method "random" with this seed: that is the control.
        order = random_scores(space, (1 + number + candidates * seed) % 2**64)
        chosen = select(uniform_scores(space, order))
        losses.append(_mean_loss(compact(network, Architecture.of(space, chosen), check=False), held, loss))
        if losses[-1] <= min(losses):
            best = chosen
    return Found(best, torch.tensor(losses, dtype=torch.float64))


@dataclass(frozen=True)
class RandomSearch(Method):
    """Keeps, of many random architectures with the same share of every group, that of the least loss at the weights as
    they stand.

    Trains nothing; costs a forward pass of each candidate over the samples. Source: arXiv 2403.08265, which finds, as
    we do, that it is no better than one random architecture.
    """

    candidates: int = option(CANDIDATES, "How many architectures are tried.", least=1)
    samples: int = option(SAMPLES, "Of the validation data, on which they are compared.", least=1)

    def choose(self, task: Task) -> Removal:
        found = random_search(
            task.network, task.space, task.select, task.val, task.context.loss, candidates=self.candidates,
            samples=self.samples, seed=task.seed,
        )  # fmt: skip
        return Removal.among(task.space, found.open_variables)


def _first(batches: Loader, samples: int, device: torch.device) -> list[tuple[Any, Any]]:
    held: list[tuple[Any, Any]] = []
    for batch in batches:
        held.append(to_device(split(batch), device))
        if sum(batch_size(inputs) for inputs, _ in held) >= samples:
            break
    return held


@torch.inference_mode()
def _mean_loss(network: nn.Module, held: list[tuple[Any, Any]], loss: Loss) -> float:
    """Over all samples, in eval mode and full precision: the differences are smaller than the noise of a batch."""
    network.eval()
    total = sum(float(loss(call(network, inputs), targets)) * batch_size(inputs) for inputs, targets in held)
    return total / sum(batch_size(inputs) for inputs, _ in held)
