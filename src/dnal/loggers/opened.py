"""A log that was opened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning.fabric.loggers.logger import Logger


def _nothing(epochs: int) -> None:
    pass


@dataclass(frozen=True)
class Opened:
    """A logger, the id by which its log goes on later, and ``cut``: forgets what was logged after so many epochs, where
    a log can forget."""

    logger: Logger
    id: str
    cut: Callable[[int], None] = _nothing
