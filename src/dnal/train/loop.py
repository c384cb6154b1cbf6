"""The one training loop: epochs of steps, a record per epoch, and a stop when the loss is no number."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, Protocol

from lightning.fabric import Fabric
from torch import Tensor, nn

from dnal.errors import UserError
from dnal.train.listener import Listener


class Loader(Protocol):
    """Batches of (inputs, targets), with a length; a DataLoader or anything like it."""

    def __iter__(self) -> Any: ...
    def __len__(self) -> int: ...


class Diverged(UserError):
    """The loss is no longer a number. The states at the end of earlier epochs were handed to the listener."""


Step = Callable[[Any, Any, float], Tensor]
"""(inputs, targets, progress of the phase from 0 to 1) -> the loss of this step."""


def run_epochs(
    fabric: Fabric,
    name: str,
    loader: Loader,
    epochs: int,
    step: Step,
    *,
    state: nn.Module,
    describe: Callable[[], dict[str, Any]],
    listener: Listener,
    history: list[dict[str, Any]],
) -> None:
    """Runs ``epochs`` epochs of ``step`` over ``loader``.

    Args:
        name: of the phase.
        step: does one optimisation step and returns its loss.
        state: the module whose tensors are the checkpoint.
        describe: called at the end of each epoch; its entries join the epoch's record.
        listener: hears of every phase, step, epoch and checkpoint.
        history: receives one record per epoch.

    Raises:
        Diverged: when a loss is NaN or infinite, before its epoch's checkpoint.
    """
    total = len(loader)
    if epochs and not total:
        raise UserError("the training data give no batch; lower the batch size or add images.")
    listener.phase(name, epochs, total)
    for epoch in range(epochs):
        begun, losses = time.perf_counter(), []
        for number, (inputs, targets) in enumerate(loader):
            inputs, targets = fabric.to_device((inputs, targets))
            loss = float(step(inputs, targets, (epoch + (number + 1) / total) / epochs))
            if not math.isfinite(loss):
                raise Diverged(_diverged(loss, name, epoch, number))
            losses.append(loss)
            listener.step(loss)
        tensors = {key: value.detach() for key, value in state.state_dict().items()}
        if not all(bool(value.isfinite().all()) for value in tensors.values()):  # the last step's update overflowed
            raise Diverged(_diverged(math.nan, name, epoch, total - 1))
        record = {"phase": name, "epoch": epoch + 1, "epochs": epochs, "loss": sum(losses) / max(len(losses), 1)}
        record |= describe()
        record["seconds"] = round(time.perf_counter() - begun, 3)
        history.append(record)
        listener.epoch(record)
        listener.checkpoint(tensors, {"phase": name, "epoch": epoch + 1})


def _diverged(loss: float, name: str, epoch: int, step: int) -> str:
    return (
        f"the loss became {loss} in phase '{name}', epoch {epoch + 1}, step {step + 1}; "
        "a lower learning rate usually helps."
    )
