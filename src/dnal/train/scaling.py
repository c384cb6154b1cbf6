"""Half precision with a gradient scaler: the loss is multiplied by a large number, which is found by letting a step
overflow now and then. Such a step is none, for all that would have moved by it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.amp import GradScaler

if TYPE_CHECKING:
    from lightning.fabric import Fabric


def scaler_of(fabric: Fabric) -> GradScaler | None:
    """The gradient scaler of a fabric, if its precision has one."""
    scaler = getattr(fabric.strategy.precision, "scaler", None)
    return scaler if isinstance(scaler, GradScaler) and scaler.is_enabled() else None


def overflowed(scaler: GradScaler, optimizer: torch.optim.Optimizer) -> bool:
    """Takes the scale out of an optimizer's gradients; whether these, or those of an optimizer that this pass has seen
    before, are no numbers. Between the backward pass and ``scaler.update()``."""
    scaler.unscale_(optimizer)
    # as GradScaler.update looks at it: there is no other way to ask
    found = [one for state in scaler._per_optimizer_states.values() for one in state["found_inf_per_device"].values()]
    return any(float(one) for one in found)
