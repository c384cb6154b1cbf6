"""Scores of all training examples, averaged over networks that have begun to learn."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from dnal.base.errors import UserError
from dnal.space.surgery.running import call, in_eval
from dnal.techniques.data_diet.scores import Forgetting, el2n, grand
from dnal.train.batch import split
from dnal.train.examples import examples, in_chunks, picked
from dnal.train.loader import Loader
from dnal.train.optimizers import sgd
from dnal.train.outputs import logits_of, task_loss
from dnal.train.phase import Context, Phase, run_phase
from dnal.train.rows import to_device
from dnal.train.schedule import constant
from dnal.train.setup.reinitialize import check_resettable, reset
from dnal.train.step import Step
from dnal.train.technique import Technique

Score = Literal["el2n", "grand", "forgetting", "random"]
AT_ONCE = 256
"""Examples in a batch that is scored."""


def scores_of(
    network: nn.Module,
    loader: Loader,
    score: Score = "el2n",
    *,
    epochs: int = 10,
    networks: int = 3,
    batch_size: int = 64,
    lr: float = 0.1,
    loss: Callable[[Any, Any], Tensor] = task_loss,
    seed: int = 0,
) -> Tensor:
    """The scores of a loader's examples, in the order of their numbers: the more, the more they matter.

    Args:
        network: of the kind that is trained; copies of it get new weights, and it stays as it is.
        loader: training batches, as :func:`dnal.train.examples.examples` takes them; left where it is.
        score: "el2n", "grand" (:func:`el2n`, :func:`grand`: of networks after ``epochs``, in eval mode, on examples
            that are not augmented), "forgetting" (:class:`Forgetting`, over all epochs), "random": the control.
        epochs: of training before the score. networks: over which it is averaged. batch_size, lr: of their training,
            SGD at a constant rate.
        loss: of the task. seed: of weights and order.

    Returns:
        (N,), infinite for what was never learnt, where forgetting is counted.

    Raises:
        UserError: another score, or no network; the loader does not tell examples apart, targets are not one class per
            example, or the weights cannot be drawn again.

    Source: Paul et al., arXiv 2107.07075: means over networks, as single ones are noisy.
    """
    if score not in get_args(Score):
        raise UserError(f"examples are scored by {', '.join(get_args(Score))}, not by '{score}'.")
    if networks < 1 or epochs < 0:
        raise UserError(f"scores are of one network or more, after 0 epochs or more, not of {networks} after {epochs}.")
    count = examples(loader)
    if score == "random":
        return torch.rand(count, generator=torch.Generator().manual_seed(seed))
    from lightning.fabric import Fabric  # seconds, and only who trains needs it

    check_resettable(network)
    device = next(network.parameters()).device
    total = torch.zeros(count)
    with torch.random.fork_rng():
        for number in range(networks):
            one = copy.deepcopy(network)
            reset(one, seed + number)
            order = _Order(loader, count, batch_size, seed + number)
            events = _Counts(order, count)
            hooks = [events] if score == "forgetting" else []
            context = Context(Fabric(accelerator=device.type, devices=1), order, loss)
            torch.manual_seed(seed + number)
            phase = Phase("scoring", epochs, lr, warmup=0.02, optimizer=sgd, schedule=constant)
            run_phase(phase, one, context, hooks=hooks)
            total += events.counts.scores() if score == "forgetting" else _scored(one, loader, count, score, loss)
    return total / networks


def _scored(network: nn.Module, loader: Loader, count: int, score: Score, loss: Callable[[Any, Any], Tensor]) -> Tensor:
    device, found = next(network.parameters()).device, []
    for batch in picked(loader, in_chunks(torch.arange(count), AT_ONCE)):
        inputs, targets = to_device(split(batch), device)
        if score == "grand":
            found.append(grand(network, inputs, targets, loss=loss).cpu())
            continue
        with in_eval(network), torch.no_grad():
            found.append(el2n(logits_of(call(network, inputs)), targets).cpu())
    return torch.cat(found)


class _Order:
    """Training batches of a loader's examples in an order of its own, which says which ones it gave last."""

    def __init__(self, loader: Loader, count: int, batch_size: int, seed: int) -> None:
        self._loader, self._count, self._size, self._seed = loader, count, batch_size, seed
        self._draw = torch.Generator().manual_seed(seed)
        self.indices = torch.arange(0)

    def __len__(self) -> int:
        return max(1, self._count // self._size)

    def __iter__(self) -> Iterator[Any]:
        order = torch.randperm(self._count, generator=self._draw)
        chunks = order.split(self._size)[: len(self)]  # the last ones wait for another epoch: one has no variance
        batches = picked(self._loader, chunks, int(torch.randint(2**31, (), generator=self._draw)), augmented=True)
        for self.indices, batch in zip(chunks, batches, strict=True):
            yield batch


@dataclass
class _Counts(Technique):
    """Counts what is forgotten while a network trains."""

    order: Any = None
    count: int = 0
    counts: Forgetting = field(init=False)

    def __post_init__(self) -> None:
        self.counts = Forgetting(self.count)

    def loss(self, value: Tensor, batch: Any, outputs: Any, step: Step) -> Tensor:
        self.counts.see(self.order.indices, logits_of(outputs).detach(), batch[1])
        return value
