"""Loaders: what an epoch iterates over, and what is asked of one before the first step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from dnal.base.errors import UserError, described
from dnal.train.resume.random_state import put_back, random_state


class Loader(Protocol):
    """Batches of (inputs, targets), with a length; a DataLoader or anything like it."""

    def __iter__(self) -> Any: ...
    def __len__(self) -> int: ...


def pair(batch: Any) -> tuple[Any, Any]:
    """A batch as inputs and targets.

    Raises:
        UserError: it is something else.
    """
    if not isinstance(batch, tuple | list) or len(batch) != 2:  # a dict of two would unpack too, into its keys
        raise UserError(
            f"a batch must be a pair of inputs and targets, not {described(batch)}; give a loader whose collate_fn "
            "makes such pairs."
        )
    inputs, targets = batch
    return inputs, targets


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
    """The batch that comes next, and leaves the loader and everything random as if nobody had looked.

    Raises:
        UserError: there is none, naming the ``data``.
    """
    now = random_state([loader])
    at = loader.state_dict() if hasattr(loader, "state_dict") else None
    try:
        batch = next(iter(loader))
    except StopIteration:
        raise UserError(f"the {data} data give no batch; lower the batch size or add images.") from None
    if at is not None and hasattr(loader, "load_state_dict"):
        loader.load_state_dict(at)
    put_back(now, [loader])
    return batch


class InFront:
    """A loader whose batches go through this one; all else that it has, such as a generator or a place to go on from,
    is its own."""

    def __init__(self, loader: Loader) -> None:
        self.behind = loader

    def __len__(self) -> int:
        return len(self.behind)

    def __iter__(self) -> Iterator[Any]:
        yield from self.behind

    def __getattr__(self, name: str) -> Any:
        if name == "behind":  # not there yet, as in a copy
            raise AttributeError(name)
        return getattr(self.behind, name)
