"""The losses of steps as numbers, read when the device has computed them: a step does not wait for the one before."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

MOST = 2
"""Losses that may be outstanding: so many batches more are held, and a loss that is no number is noticed so late."""


class Read(NamedTuple):
    """The loss of a step, and the batch that gave it."""

    step: int
    loss: float
    batch: Any


class Losses:
    """Losses on their way to the host, in the order of their steps.

    Examples:
        >>> losses = Losses()
        >>> losses.put(1, torch.tensor(0.5), None)
        >>> [read.loss for read in losses.read()]  # on a CPU they are there at once
        [0.5]
    """

    def __init__(self) -> None:
        self._pending: deque[tuple[int, Tensor, Any, Any]] = deque()

    def put(self, step: int, loss: Tensor | float, batch: Any) -> None:
        """Sends the loss of a step, a scalar on any device, on its way."""
        own = loss if isinstance(loss, Tensor) else torch.tensor(loss, dtype=torch.float64)
        own = own.detach().reshape(())
        on_gpu = own.device.type == "cuda"
        # Of the loss's own type: to change it on the way, torch takes memory that is not pinned, and waits.
        host = torch.empty((), dtype=own.dtype, pin_memory=on_gpu)
        host.copy_(own, non_blocking=on_gpu)
        arrived = None
        if on_gpu:
            arrived = torch.cuda.Event()
            arrived.record(torch.cuda.current_stream(own.device))
        self._pending.append((step, host, batch, arrived))

    def read(self, *, wait: bool = False) -> Iterator[Read]:
        """The losses that have arrived; with ``wait`` all of them."""
        while self._pending:
            step, host, batch, arrived = self._pending[0]
            if arrived is not None and not arrived.query():
                if not wait and len(self._pending) <= MOST:
                    return
                arrived.synchronize()
            self._pending.popleft()
            yield Read(step, float(host.double().numpy()), batch)
