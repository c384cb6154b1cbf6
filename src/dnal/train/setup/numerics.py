"""Which numbers and which order of memory a job computes with: what is asked, or what a training step is fastest with
here."""

from __future__ import annotations

import itertools
import logging
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from dnal.base.errors import UserError
from dnal.settings import PRECISIONS
from dnal.space.surgery.inputs import Inputs, batch_size, cloned, of_images
from dnal.space.surgery.running import call, undisturbed
from dnal.train.phase import Loss
from dnal.train.setup.dry_run import answer, step, twins
from dnal.train.setup.fabric import set_up

if TYPE_CHECKING:
    from lightning.fabric import Fabric

ORDERS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
"""How images and the weights of convolutions lie in memory."""
PrecisionAndOrder = tuple[str, str]
"""A precision of Lightning Fabric, and one of ``ORDERS``."""
MARGIN = 1.2
"""Other numbers or another order than the usual ones must be so many times as fast: a clock is not exact, and a choice
that flips between two equal jobs would make their results differ."""
WARM, TURNS = 1, 3
LONG = 1e9
"""MACs of a batch from which timing is worth it: some hundredths of a second."""


def precision_of(precision: str) -> str:
    """Of Lightning Fabric, with "auto" decided without timing."""
    if precision == "auto":
        return "bf16-mixed" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "32-true"
    return precision


@contextmanager
def without_chatter() -> Iterator[None]:
    """Fabric tells on stderr what it was asked for; warnings still come through."""
    loggers = [logging.getLogger(name) for name in ("lightning.fabric", "lightning.pytorch")]  # the last one imported
    before = [logger.level for logger in loggers]  # speaks for both
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def fabric_of(precision: str) -> Fabric:
    """One process of Lightning Fabric, on the GPU where there is one.

    Raises:
        UserError: there is no such precision.
    """
    from lightning.fabric import Fabric  # seconds, and only who trains needs it

    try:
        with without_chatter():
            return Fabric(accelerator="auto", devices=1, precision=precision_of(precision))  # type: ignore[arg-type]
    except ValueError:
        raise UserError(
            f"unknown precision '{precision}'; choose auto, {', '.join(PRECISIONS[:-1])} or {PRECISIONS[-1]}."
        ) from None


def workable(order: str, network: nn.Module, inputs: Inputs, targets: Any, loss: Loss) -> str:
    """The order of memory, or "contiguous" for an "auto" where the network cannot compute in channels_last: ``view``
    knows one order only. A training step and a forward pass in eval mode are tried, on copies.

    Args:
        order: one of ``ORDERS``, or "auto". inputs, targets: a few examples (N, ...), on the network's device.

    Raises:
        UserError: there is no such order, or channels_last is asked for and fails.
    """
    if order not in ("auto", *ORDERS):
        raise UserError(f"unknown memory_format '{order}'; choose auto, {' or '.join(ORDERS)}.")
    if order == "contiguous" or not of_images(inputs):
        return order

    def training(layout: torch.memory_format) -> None:
        step(network, inputs, targets, loss, layout)

    def evaluating(layout: torch.memory_format) -> None:
        answer(network, inputs, layout)

    for attempt in (training, evaluating):
        refused = _failure(attempt, torch.channels_last)
        if refused is None or _failure(attempt, torch.contiguous_format) is not None:
            continue  # what fails in both is no matter of the order
        if order == "auto":
            return "contiguous"
        raise UserError(
            f"this network cannot compute with memory_format='channels_last' ({refused}): write reshape or flatten "
            "for view, or ask for memory_format='contiguous'."
        )
    return order


def _failure(attempt: Callable[[torch.memory_format], None], layout: torch.memory_format) -> str | None:
    """The first sentence of what an attempt raises, or None."""
    try:
        attempt(layout)
    except Exception as error:  # whatever the user's own network and loss raise
        text = str(error) or type(error).__name__
        return text.splitlines()[0].partition(". ")[0].rstrip(".")
    return None


def chosen_numerics(
    fabric: Fabric,
    precision: str,
    order: str,
    network: nn.Module,
    macs: float,
    batch: tuple[Inputs, Any],
    loss: Loss,
) -> PrecisionAndOrder:
    """Precision and order of memory, with what "auto" leaves open timed, where a step is long enough to matter.

    Args:
        order: one of ``ORDERS``, or "auto". macs: of one example.
        batch: inputs (N, ...) and targets, which are timed.
    """
    usual = (precision_of(precision), "channels_last" if order == "auto" else order)
    open_ = [
        (kind, name)
        for kind, name in itertools.product(("32-true", "bf16-mixed"), ORDERS)
        if precision in ("auto", kind) and order in ("auto", name)
    ]
    if len(open_) < 2 or fabric.device.type == "cuda":
        return usual
    inputs, targets = batch
    if not of_images(inputs) or macs * batch_size(inputs) < LONG:
        return usual
    return fastest_numerics(network, inputs, targets, loss, [usual, *(one for one in open_ if one != usual)])


def fastest_numerics(
    network: nn.Module, inputs: Inputs, targets: Any, loss: Loss, candidates: Sequence[PrecisionAndOrder]
) -> PrecisionAndOrder:
    """The candidate with the fastest step (forward and backward) of a copy of ``network``; the first candidate is the
    usual one. Medians of interleaved turns; one that cannot run is left out. The random state and the loss stay as
    they were.

    Args:
        inputs, targets: one batch, (N, C, H, W) and whatever ``loss`` takes beside the outputs.
    """
    usual, *others = candidates
    with undisturbed(inputs):
        steps = {usual: _step(network, inputs, targets, loss, usual)}
        for other in others:
            try:
                step = _step(network, inputs, targets, loss, other)
                step()
            except (RuntimeError, ValueError, TypeError):  # a loss or a layer that does not know bf16
                continue
            steps[other] = step
        seconds: dict[PrecisionAndOrder, list[float]] = {candidate: [] for candidate in steps}
        for turn in range(WARM + TURNS):
            for candidate, step in steps.items():
                begun = time.perf_counter()
                step()
                if turn >= WARM:
                    seconds[candidate].append(time.perf_counter() - begun)
    medians = {candidate: statistics.median(own) for candidate, own in seconds.items()}
    best = min(medians, key=lambda candidate: medians[candidate])
    return best if medians[best] * MARGIN <= medians[usual] else usual


def _step(
    network: nn.Module, inputs: Inputs, targets: Any, loss: Loss, candidate: PrecisionAndOrder
) -> Callable[[], None]:
    precision, order = candidate
    fabric = fabric_of(precision)
    own, loss = twins(network, loss)
    module = set_up(fabric, own.train().to(fabric.device).to(memory_format=ORDERS[order]))
    inputs, targets = fabric.to_device((cloned(inputs), cloned(targets)))

    def step() -> None:
        module.zero_grad(set_to_none=True)
        fabric.backward(loss(call(module, inputs), targets))

    return step
