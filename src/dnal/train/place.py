"""Where in its batches a loader is, so that an epoch can go on in its middle."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from dnal.base.errors import UserError, described
from dnal.train.random_state import put_back, random_state


class Loader(Protocol):
    """Batches of (inputs, targets), with a length; a DataLoader or anything like it."""

    def __iter__(self) -> Any: ...
    def __len__(self) -> int: ...


class Place:
    """A loader's batches, epoch by epoch, from wherever it was left.

    A loader that has ``state_dict`` and ``load_state_dict`` goes on by itself. Any other begins the epoch again, with
    the random state that it had then, and the batches that were done are passed over.

    Args:
        alone: nobody else takes batches of the loader meanwhile; else its own ``state_dict`` says nothing of this one.
    """

    def __init__(self, loader: Loader, *, alone: bool = True) -> None:
        self.loader = loader
        self._own = alone and hasattr(loader, "state_dict") and hasattr(loader, "load_state_dict")
        self._done = 0
        self._begun: dict[str, Any] | None = None
        self._resumed = False

    def __iter__(self) -> Iterator[Any]:
        """The rest of the epoch that was loaded, or the next one."""
        if self._own:
            yield from self.loader
            return
        now = random_state([self.loader])
        if self._resumed and self._begun is not None:
            put_back(self._begun, [self.loader])
            done, self._resumed = self._done, False
            batches = iter(self.loader)
            for _ in range(done):
                next(batches)
            put_back(now, [self.loader])  # as the checkpoint has it: the steps in between drew from it too
        else:
            self._begun, self._done = now, 0
            batches = iter(self.loader)
        for batch in batches:
            self._done += 1
            yield batch
        self._done = len(self.loader)  # the epoch is over, even if it gave fewer

    def state_dict(self) -> dict[str, Any]:
        """Where it is, as plain values and tensors."""
        if self._own:
            return {"loader": self.loader.state_dict()}  # type: ignore[attr-defined]
        return {"done": self._done, "batches": len(self.loader), "begun": self._begun}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on where ``state`` was taken; the global random state must be put back besides.

        Raises:
            UserError: the state is that of a loader with another number of batches.
        """
        if self._own and "loader" in state:
            self.loader.load_state_dict(state["loader"])  # type: ignore[attr-defined]
            return
        if state.get("batches") != len(self.loader):
            raise UserError(
                f"the checkpoint is of other batches than the {len(self.loader)} an epoch of this loader; give the "
                "data and batch size that the job began with."
            )
        self._done, self._begun = state["done"], state["begun"]
        self._resumed = 0 < self._done < len(self.loader)


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
