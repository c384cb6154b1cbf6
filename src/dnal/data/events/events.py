"""Events as a file has them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dnal.base.errors import UserError
from dnal.data.events.raw import RawEvents
from dnal.data.npz import read_arrays

ARRAYS = ("src", "dst", "t")
"""Names of the arrays in a file: sources, targets and times of the events."""
MOST_NODES, MOST_EVENTS = 2**22, 2**26
TRAIN, VAL = 0.7, 0.15
"""Shares of the events, in the order of time; the rest is for testing."""


@dataclass(frozen=True)
class Events:
    """Events in the order of time, (E,) each: from node ``source`` to node ``target`` at ``time``.

    Attributes:
        nodes: how many there may be.
    """

    source: Tensor
    target: Tensor
    time: Tensor
    nodes: int

    def __len__(self) -> int:
        return len(self.time)

    @property
    def ends(self) -> tuple[int, int]:
        """Behind the last event for training, and behind the last one for validation."""
        return int(TRAIN * len(self)), int((TRAIN + VAL) * len(self))

    @property
    def pairs(self) -> Tensor:
        """(E, 2)."""
        return torch.stack([self.source, self.target], 1)


def events_of(source: Tensor, target: Tensor, time: Tensor) -> Events:
    """Events in any order; those of one time keep theirs.

    Args:
        source, target: whole numbers from 0, (E,). time: (E,).

    Raises:
        UserError: they are no such numbers.
    """
    if not source.shape == target.shape == time.shape or source.dim() != 1 or not 3 < len(time) <= MOST_EVENTS:
        raise UserError(f"events are src, dst and t of equal lengths from 4 to {MOST_EVENTS:,}.")
    if source.is_floating_point() or target.is_floating_point():
        raise UserError("the nodes of events, src and dst, are whole numbers; give them so.")
    most = int(max(source.max(), target.max()))
    if int(min(source.min(), target.min())) < 0 or most >= MOST_NODES:
        raise UserError(f"the nodes of events are numbers from 0 to below {MOST_NODES:,}; number them so.")
    time = time.double()
    if not bool(time.isfinite().all()):
        raise UserError("the times of events have NaN or infinite values; remove those events.")
    if not bool((time.max() - time.min()).isfinite()):
        raise UserError("the first and the last time of the events are too far apart for a number; give another unit.")
    order = time.argsort(stable=True)
    return Events(source[order].long(), target[order].long(), time[order], most + 1)


def from_raw(raw: RawEvents) -> Events:
    """Events as a source delivers them, checked and in the order of time.

    Raises:
        UserError: as :func:`events_of`.
    """
    arrays = [np.asarray(array) for array in (raw.source, raw.target, raw.time)]
    if any(array.dtype.kind not in "iuf" for array in arrays):
        raise UserError("the nodes and times of events, src, dst and t, must be numbers.")
    source, target = (
        torch.from_numpy(one.astype(np.int64 if one.dtype.kind in "iu" else np.float64)) for one in arrays[:2]
    )
    return events_of(source, target, torch.from_numpy(arrays[2].astype(np.float64)))


def read_raw(path: str | Path) -> RawEvents:
    """The arrays of an .npz file, which may be anybody's: ``src``, ``dst`` and ``t``.

    Raises:
        UserError: as :func:`dnal.data.npz.read_arrays`.
    """
    found = read_arrays(Path(path), ARRAYS)
    return RawEvents(*(found[name] for name in ARRAYS))


def read_events(path: str | Path) -> Events:
    """Events in an .npz file.

    Raises:
        UserError: as :func:`read_raw` and :func:`from_raw`.
    """
    return from_raw(read_raw(path))
