"""Loaders: what an epoch iterates over, and what is asked of one before the first step."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from dnal.base.errors import UserError
from dnal.train.resume.random_state import put_back, random_state


class Loader(Protocol):
    """Batches, with a length; a DataLoader or anything like it."""

    def __iter__(self) -> Any: ...
    def __len__(self) -> int: ...


def check_length(loader: Loader, data: str) -> None:
    """Refuses a loader that does not know how many batches an epoch has; ``data``: what it loads.

    Raises:
        UserError: naming the data.
    """
    try:
        len(loader)
    except TypeError:
        raise UserError(
            f"the {data} data have no length, and a schedule needs the number of batches; give their loader, or its "
            "IterableDataset, a __len__."
        ) from None


def first_batch(loader: Loader, data: str = "given") -> Any:
    """The batch that comes next, and leaves the loader and everything random as they were.

    Raises:
        UserError: there is none, naming the ``data``.
    """
    with ahead(loader) as batches:
        try:
            return next(batches)
        except StopIteration:
            raise UserError(f"the {data} data give no batch; lower the batch size or add images.") from None


@contextmanager
def ahead(loader: Loader) -> Iterator[Iterator[Any]]:
    """The batches that come next, of one epoch at most, for a look: afterwards the loader and everything random are as
    they were, and the same batches come."""
    now = random_state([loader])
    at = loader.state_dict() if hasattr(loader, "state_dict") else None
    try:
        yield iter(loader)
    finally:
        if at is not None and hasattr(loader, "load_state_dict"):
            loader.load_state_dict(at)
        put_back(now, [loader])


def endless(loader: Iterable[Any]) -> Iterator[Any]:
    """Its batches, epoch after epoch.

    Raises:
        UserError: an epoch has none.
    """
    while True:
        empty = True
        for batch in loader:
            empty = False
            yield batch
        if empty:
            raise UserError("the data give no batch; lower the batch size or add examples.")


class InFront:
    """A loader whose batches go through this one; all else that it has, such as a generator or a position, is
    its own."""

    def __init__(self, loader: Loader) -> None:
        self.behind = loader

    def over(self, behind: Loader) -> InFront:
        """The same in front of another loader."""
        found = copy.copy(self)
        found.behind = behind
        return found

    def __len__(self) -> int:
        return len(self.behind)

    def __iter__(self) -> Iterator[Any]:
        yield from self.behind

    def __getattr__(self, name: str) -> Any:
        if name == "behind":  # not there yet, as in a copy
            raise AttributeError(name)
        return getattr(self.behind, name)
