"""Steps of several batches: their gradients are added up before the weights move, in the memory of one batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from dataclasses import dataclass
from typing import Any

from dnal.space.surgery.inputs import batch_size


@dataclass(frozen=True)
class Group:
    """The batches of one step, as (inputs, targets)."""

    batches: tuple[Any, ...]

    def shares(self) -> list[float]:
        """Of each batch, what part of all examples it has: the step's loss is the mean over these."""
        sizes = [batch_size(inputs) for inputs, _ in self.batches]
        return [size / sum(sizes) for size in sizes] if all(sizes) else [1 / len(sizes)] * len(sizes)


def grouped(batches: Iterable[Any], accumulate: int) -> Iterator[Any]:
    """What each step gets: a batch as it is, or a :class:`Group` of ``accumulate`` of them; the last has what is
    left."""
    if accumulate == 1:
        yield from batches
        return
    group: list[Any] = []
    for batch in batches:
        group.append(batch)
        if len(group) == accumulate:
            yield Group(tuple(group))
            group = []
    if group:
        yield Group(tuple(group))


def steps_of(loader: Sized, accumulate: int) -> int:
    """Steps of an epoch.

    Examples:
        >>> steps_of([1, 2, 3, 4, 5], 2)
        3
    """
    return -(-len(loader) // accumulate)
