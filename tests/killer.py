"""Ends a job without warning."""

from __future__ import annotations

from dnal.train.listener import Listener


class Killed(Exception):
    pass


class Killer(Listener):
    """After so many steps."""

    def __init__(self, at: int) -> None:
        self.left = at

    def step(self, loss: float) -> None:
        self.left -= 1
        if self.left < 0:
            raise Killed
