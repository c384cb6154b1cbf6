"""The one training loop: epochs of steps, a record per epoch, and a stop when the loss is no number."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from dnal.base.errors import UserError
from dnal.train.accumulation import Group, grouped, steps_of
from dnal.train.batch import split
from dnal.train.evaluate import check_finite
from dnal.train.listener import Listener
from dnal.train.loader import Loader
from dnal.train.losses import Losses
from dnal.train.resume.checkpointer import Checkpointer, Position, Stateful
from dnal.train.resume.data_position import DataPosition
from dnal.train.resume.tree import all_finite
from dnal.train.setup.processes import agree, together

if TYPE_CHECKING:
    from lightning.fabric import Fabric


class Diverged(UserError):
    """The loss is no longer a number. The last checkpoint is of the time before."""


class Stopped(Exception):
    """The job was asked to stop, and has kept its state."""


DoStep = Callable[[Any, float], Tensor]
"""(batch (inputs, targets) on the device, progress of the phase from 0 to 1) -> the loss of this step."""


def run_epochs(
    fabric: Fabric,
    name: str,
    loader: Loader,
    epochs: int,
    step: DoStep,
    *,
    parts: Mapping[str, Stateful],
    describe: Callable[[], dict[str, Any]],
    listener: Listener,
    history: list[dict[str, Any]],
    checkpointer: Checkpointer | None = None,
    accumulate: int = 1,
) -> None:
    """Runs ``epochs`` epochs of ``step`` over ``loader``, or what is left of them.

    Args:
        name: of the phase.
        step: does one optimisation step and returns its loss.
        parts: everything that a step changes, and so makes a checkpoint.
        describe: called at the end of each epoch; its entries join the epoch's record.
        listener: called for every phase, step and epoch.
        history: receives one record per epoch.
        checkpointer: keeps the state, and puts back what it has of this phase before the first step.
        accumulate: batches of a step. Where it is more than one, ``step`` gets a Group, and moves each to the device.

    Raises:
        Diverged: when a loss is NaN or infinite, before it gets into a checkpoint.
        Stopped: when the checkpointer is asked to stop.
    """
    total = steps_of(loader, accumulate)
    if epochs and not total:
        raise UserError("the training data give no batch; lower the batch size or add images.")
    checkpointer, position = checkpointer or Checkpointer(), DataPosition(loader)
    parts = {**parts, "place": position, "precision": fabric.strategy.precision}
    modules = [part for part in parts.values() if isinstance(part, nn.Module)]
    at = checkpointer.resume(name, parts, history)
    finite = [[name for name, value in module.state_dict().items() if all_finite(value)] for module in modules]
    listener.phase(name, epochs, total)
    if checkpointer.resumed:
        checkpointer.resumed = False
        listener.resumed(list(history), at.epoch * total + at.step)

    losses = Losses()

    def diverged(loss: float, step: int) -> Diverged:
        return Diverged(
            f"the loss became {loss} in phase '{name}', epoch {at.epoch + 1}, step {step}; "
            "a lower learning rate usually helps."
        )

    def take(*, wait: bool) -> None:
        for read in losses.read(wait=wait):
            if not math.isfinite(read.loss):
                batches = read.batch.batches if isinstance(read.batch, Group) else (read.batch,)
                for number, (inputs, _) in enumerate(batches, (read.step - 1) * accumulate + 1):
                    check_finite(inputs, number, "training")
                raise diverged(read.loss, read.step)
            at.losses += read.loss
            listener.step(read.loss)

    def check() -> None:
        for module, names in zip(modules, finite, strict=True):
            state = module.state_dict()  # what was infinite before, such as a causal mask, is so on purpose
            if not all(all_finite(state.get(name)) for name in names):  # the last step's update overflowed
                raise diverged(math.nan, at.step)

    while at.epoch < epochs:
        begun, before = time.perf_counter(), at.seconds
        stop = False
        for batch in grouped(map(split, position), accumulate):
            batch = batch if isinstance(batch, Group) else fabric.to_device(batch)
            at.step += 1
            own = step(batch, (at.epoch + at.step / total) / epochs)
            loss, stop = together(fabric, own, checkpointer.stop())
            losses.put(at.step, loss, batch)
            take(wait=False)
            at.seconds = before + time.perf_counter() - begun
            if (checkpointer.due() or stop) and at.step < total:
                take(wait=True)
                check()
                checkpointer.keep(at, parts, history)
            if stop and at.step < total:
                raise Stopped(f"in phase '{name}', epoch {at.epoch + 1}, step {at.step}")
        take(wait=True)
        check()
        agree(fabric, modules)
        record = {"phase": name, "epoch": at.epoch + 1, "epochs": epochs, "loss": at.losses / max(at.step, 1)}
        record |= describe()
        record["seconds"] = round(before + time.perf_counter() - begun, 3)
        history.append(record)
        listener.epoch(record)
        at = Position(epoch=at.epoch + 1)
        checkpointer.keep(at, parts, history)
        if stop:
            raise Stopped(f"after epoch {at.epoch} of phase '{name}'")
