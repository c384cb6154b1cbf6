"""Ctrl-C and SIGTERM: the step in progress ends, the state is kept, and the job can be resumed."""

from __future__ import annotations

import os
import signal
from types import FrameType, TracebackType
from typing import Any, Self

from dnal.train.listener import Listener

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Terminated(BaseException):
    """The process was asked to end at once, by this signal."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Signals:
    """Remembers the first SIGINT or SIGTERM, for the caller to ask; a second one ends the program where it is, with
    :class:`Terminated`. A context manager.

    ``signal``: the number of the one that came, or None.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._process = os.getpid()
        self._before: dict[int, Any] = {}

    def asked(self) -> bool:
        """Whether one has come."""
        return self.signal is not None

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._came) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _came(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a process that prepares images inherits this; it belongs to who started it
            if number == signal.SIGTERM:
                os._exit(128 + number)
            return
        again, self.signal = self.signal is not None, number
        if again or not self._waits():
            raise Terminated(number)

    def _waits(self) -> bool:
        """Whether the job will ask soon."""
        return True


class Stopping(Signals, Listener):
    """While a job trains, its loop asks; at any other time the first signal ends it at once."""

    def __init__(self) -> None:
        super().__init__()
        self._training = False

    def phase(self, name: str, epochs: int, steps_per_epoch: int) -> None:
        self._training = epochs > 0

    def epoch(self, record: dict[str, Any]) -> None:
        self._training = record["epoch"] < record["epochs"]

    def _waits(self) -> bool:
        return self._training
