"""What a training job tells whoever wants to know: empty hooks, override those you need."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor


class Listener:
    """Hooks of a learning job; every one is empty by default."""

    def start(self, settings: dict[str, Any]) -> None:
        """All input has been checked and nothing trained yet; ``settings``: everything decided, as plain values."""

    def phase(self, name: str, epochs: int, steps_per_epoch: int) -> None:
        """A phase begins: "base", "architecture" or "retrain"."""

    def step(self, loss: float) -> None:
        """One optimisation step was done."""

    def epoch(self, record: dict[str, Any]) -> None:
        """An epoch ended; ``record`` holds plain values, those that do not apply are absent."""

    def checkpoint(self, tensors: dict[str, Tensor], progress: dict[str, Any]) -> None:
        """The state at the end of an epoch, all of it finite."""


class Chorus(Listener):
    """Several listeners as one."""

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self.listeners = list(listeners)

    def start(self, settings: dict[str, Any]) -> None:
        for listener in self.listeners:
            listener.start(settings)

    def phase(self, name: str, epochs: int, steps_per_epoch: int) -> None:
        for listener in self.listeners:
            listener.phase(name, epochs, steps_per_epoch)

    def step(self, loss: float) -> None:
        for listener in self.listeners:
            listener.step(loss)

    def epoch(self, record: dict[str, Any]) -> None:
        for listener in self.listeners:
            listener.epoch(record)

    def checkpoint(self, tensors: dict[str, Tensor], progress: dict[str, Any]) -> None:
        for listener in self.listeners:
            listener.checkpoint(tensors, progress)
