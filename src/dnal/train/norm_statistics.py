"""New running statistics of batch norms, where a network got its weights otherwise than by training steps."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn
from torch.optim.swa_utils import update_bn

from dnal.space.surgery.running import call
from dnal.train.batch import split
from dnal.train.rows import to_device


def renew_statistics(network: nn.Module, batches: Iterable[Any]) -> None:
    """Makes the running statistics of all batch norms the mean over batches, in place; the mode stays as it is.

    Args:
        batches: as a loader gives them; the targets are not read. Moved to the network's device.
    """
    device = next(network.parameters()).device
    # torch takes the first of a list for the inputs, and moves tensors only
    update_bn(([to_device(split(batch)[0], device)] for batch in batches), _Called(network))


class _Called(nn.Module):
    """A network that takes its inputs as one argument, whatever they are."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.training = network.training

    def forward(self, inputs: Any) -> Any:
        return call(self.network, inputs)
