"""How long a job took, added up over all the times that it was gone on with."""

from __future__ import annotations

import time
from typing import Any

from dnal.train.listener import Listener
from dnal.train.resume.checkpointer import Checkpointer


class Spent(Listener):
    """Seconds of what goes on under a checkpointer, kept in its checkpoints.

    On a CPU it is the processor's time: what else runs on the machine lengthens the wall clock, and not this.
    """

    def __init__(self, checkpointer: Checkpointer, device: str) -> None:
        self._keeper = checkpointer
        self._clock = time.process_time if device == "cpu" else time.perf_counter
        self._before = float(checkpointer.carried("spent"))
        self._begun = self._clock()

    @property
    def seconds(self) -> float:
        return self._before + self._clock() - self._begun

    def step(self, loss: float) -> None:
        self._note()

    def epoch(self, record: dict[str, Any]) -> None:
        self._note()

    def _note(self) -> None:
        assert self._keeper.tree is not None
        self._keeper.tree["carried"]["spent"] = self.seconds
