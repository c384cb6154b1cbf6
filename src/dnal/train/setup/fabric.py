"""A network and its optimizer given to Lightning Fabric, which leaves itself in a LightningModule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn
from torch.optim import Optimizer

from dnal.space.copying import without_fabric

if TYPE_CHECKING:
    from lightning.fabric import Fabric


def set_up(fabric: Fabric, network: nn.Module, *optimizers: Optimizer) -> Any:
    """``fabric.setup(network, *optimizers)``, after which the network refers to neither: Fabric would keep a
    LightningModule among its callbacks for good, and no deep copy of it would succeed."""
    callbacks = fabric._callbacks
    known = list(callbacks)
    with without_fabric(network):
        made = fabric.setup(network, *optimizers)
    callbacks[:] = [callback for callback in callbacks if any(callback is other for other in known)]
    return made
