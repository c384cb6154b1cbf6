"""Where in its batches a loader is, so that an epoch can go on in its middle."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dnal.base.errors import UserError
from dnal.train.loader import Loader
from dnal.train.resume.random_state import put_back, random_state


class DataPosition:
    """A loader's batches, epoch by epoch, from wherever it was left.

    A loader that has ``state_dict`` and ``load_state_dict`` goes on by itself. Any other begins the epoch again, with
    the random state that it had then, and the batches that were done are passed over.

    Args:
        alone: nothing else takes batches of the loader meanwhile; else its own ``state_dict`` says nothing of this one.
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
