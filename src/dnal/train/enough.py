"""Training batches with enough examples for batch norm: a single one has no variance."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from dnal.space.surgery.inputs import batch_size
from dnal.train.batch import as_given, split
from dnal.train.loader import InFront, Loader


def enough(loader: Loader, network: nn.Module, processes: int = 1) -> Loader:
    """The loader without a last batch that gives a process a single example, where the network has batch norm and the
    other batches are larger; dnal's own loaders leave it out too. The length counts it no more, where the loader tells
    beforehand how many examples it has.

    Args:
        processes: that share each batch.

    Warns:
        once, that it is left out.
    """
    if not any(isinstance(module, _BatchNorm) for module in network.modules()):
        return loader
    return _Enough(loader, 2 * processes)


class _Enough(InFront):
    def __init__(self, loader: Loader, least: int) -> None:
        super().__init__(loader)
        self._least, self._told = least, False
        self._largest, last = _sizes(loader)
        self._counted = last is not None and 0 < last < min(least, self._largest)
        self._rest = last if self._counted and hasattr(loader, "batch_sampler") else None
        if last is not None and self._counted:
            self._tell(last)

    def over(self, behind: Loader) -> InFront:
        return _Enough(behind, self._least)

    def __len__(self) -> int:
        return len(self.behind) - self._counted

    def __iter__(self) -> Iterator[Any]:
        for number, batch in enumerate(self.behind, start=1):
            examples = batch_size(split(batch)[0])
            # A loader that goes on in the middle of an epoch counts from there, and tells its last batch by the size.
            last = number == len(self.behind) or examples == self._rest
            if last and examples < min(self._least, self._largest):
                self._tell(examples)
                continue
            self._largest = max(self._largest, examples)
            yield batch

    def _tell(self, examples: int) -> None:
        if not self._told:
            self._told = True
            warnings.warn(
                f"the last batch has {examples} example{'s' if examples > 1 else ''}, and batch norm needs "
                f"{self._least}{' for all processes' if self._least > 2 else ''}: it is left out of every epoch.",
                stacklevel=4,
            )


def _sizes(loader: Loader) -> tuple[int, int | None]:
    """The examples of the other batches and of the last one, as a list of batches or a DataLoader of torch tells them;
    0 and None where it does not."""
    if isinstance(as_given(loader), list | tuple) and len(loader):
        sizes = [batch_size(split(batch)[0]) for batch in loader]
        return sizes[0], sizes[-1]
    batches = getattr(loader, "batch_sampler", None)
    size, drops = getattr(batches, "batch_size", None), getattr(batches, "drop_last", False)
    try:
        examples = len(batches.sampler)  # type: ignore[union-attr]
    except (TypeError, AttributeError):
        return 0, None
    if not isinstance(size, int) or examples <= size or drops:
        return 0, None
    return size, examples % size or size
