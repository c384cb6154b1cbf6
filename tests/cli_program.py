"""What the tests of the command line share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

SHORT = ("--epochs", "1,1,1", "--limit-train", "300")


@dataclass(frozen=True)
class Answer:
    """How a call of the program ended."""

    status: int
    out: str
    err: str


Program = Callable[..., Answer]
