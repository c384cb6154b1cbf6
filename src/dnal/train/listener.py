"""Hooks that a training job calls: empty ones, override those that you need."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from dnal.latency import LatencyModel
    from dnal.space.space import Space


class Listener:
    """Hooks of a learning job; every one is empty by default."""

    def profiling(self, what: str, done: int, total: int) -> None:
        """The latency of layers or networks (``what``) is being measured, so many of them are done."""

    def space(self, space: Space, ranges: list[dict[str, Any]]) -> None:
        """What may vary, and what it can cost; every budget is within reach.

        ``ranges``, per cost: its name, base, least (possible), and asked: a number per budget, None where the budget
        does not bound it.
        """

    def latency(self, model: LatencyModel) -> None:
        """The latency model by which a bound on the latency is kept; just before ``start``."""

    def start(self, settings: dict[str, Any]) -> None:
        """All input has been checked and nothing trained yet; ``settings``: everything decided, as plain values."""

    def phase(self, name: str, epochs: int, steps_per_epoch: int) -> None:
        """A phase begins: "base", "architecture" or "retrain"."""

    def step(self, loss: float) -> None:
        """One optimisation step was done."""

    def epoch(self, record: dict[str, Any]) -> None:
        """An epoch ended; ``record`` holds plain values, those that do not apply are absent."""

    def base(self, network: nn.Module) -> None:
        """The base is trained, and the choice comes next, or goes on; ``network``: it, not to be changed."""

    def resumed(self, history: list[dict[str, Any]], steps: int) -> None:
        """The phase that began goes on from a checkpoint: the records so far, and how many of its steps are done."""

    def finish(self, learned: Any) -> None:
        """The job ended; ``learned``: the :class:`dnal.Learned` of it."""


class Listeners(Listener):
    """Several listeners as one. A listener that is in it twice, or in a listeners within it, hears everything once."""

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self.listeners = list({id(listener): listener for listener in _singers(listeners)}.values())

    def profiling(self, what: str, done: int, total: int) -> None:
        for listener in self.listeners:
            listener.profiling(what, done, total)

    def space(self, space: Space, ranges: list[dict[str, Any]]) -> None:
        for listener in self.listeners:
            listener.space(space, ranges)

    def latency(self, model: LatencyModel) -> None:
        for listener in self.listeners:
            listener.latency(model)

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

    def base(self, network: nn.Module) -> None:
        for listener in self.listeners:
            listener.base(network)

    def resumed(self, history: list[dict[str, Any]], steps: int) -> None:
        for listener in self.listeners:
            listener.resumed(history, steps)

    def finish(self, learned: Any) -> None:
        for listener in self.listeners:
            listener.finish(learned)


def _singers(listeners: Sequence[Listener]) -> Iterator[Listener]:
    for listener in listeners:
        if isinstance(listener, Listeners):
            yield from listener.listeners
        else:
            yield listener
