"""The examples behind a loader, by their numbers: batches of chosen ones, and a loader of those alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader, RandomSampler, SequentialSampler, Subset

from dnal.base.errors import UserError, described
from dnal.train.loader import InFront, Loader


def examples(loader: Loader) -> int:
    """How many examples the loader draws from.

    Raises:
        UserError: it does not tell them apart.
    """
    behind = _innermost(loader)
    if hasattr(behind, "picked"):
        return int(behind.examples)
    if isinstance(behind, DataLoader) and isinstance(behind.sampler, RandomSampler | SequentialSampler):
        return len(behind.dataset)  # type: ignore[arg-type]
    raise UserError(
        "examples are told apart by their numbers, as dnal's loaders have them, and a DataLoader of torch with a "
        f"dataset of known length and the usual sampler; not {described(behind)}."
    )


def picked(loader: Loader, chunks: Sequence[Tensor], seed: int = 0, *, augmented: bool = False) -> Iterator[Any]:
    """Batches as the loader makes them, of the examples with these numbers.

    Args:
        chunks: the numbers of each batch's examples, (B,).
        seed: of the augmentation. augmented: as in training. A DataLoader of torch always augments, if its dataset
            does.
    """
    yield from _behind(loader, _Picked(_innermost(loader), chunks, seed, augmented))


def only(loader: Loader, indices: Tensor) -> Loader:
    """A loader like this one, of the examples with these numbers alone; a number may be there twice."""
    behind = _innermost(loader)
    if hasattr(behind, "only"):
        return _behind(loader, behind.only(indices))
    assert isinstance(behind, DataLoader)
    shuffled = isinstance(behind.sampler, RandomSampler)
    return _behind(
        loader,
        DataLoader(
            Subset(behind.dataset, indices.tolist()), behind.batch_size, shuffle=shuffled,
            num_workers=behind.num_workers, collate_fn=behind.collate_fn, pin_memory=behind.pin_memory,
            drop_last=behind.drop_last, generator=behind.generator,
        ),
    )  # fmt: skip


class _Picked:
    def __init__(self, behind: Any, chunks: Sequence[Tensor], seed: int, augmented: bool) -> None:
        self._behind, self._chunks, self._seed, self._augmented = behind, chunks, seed, augmented

    def __len__(self) -> int:
        return len(self._chunks)

    def __iter__(self) -> Iterator[Any]:
        for number, indices in enumerate(self._chunks):
            if hasattr(self._behind, "picked"):
                yield self._behind.picked(indices, self._seed + number, augmented=self._augmented)
            else:
                chosen = [self._behind.dataset[index] for index in indices.tolist()]
                yield self._behind.collate_fn(chosen)


def _innermost(loader: Loader) -> Any:
    return _innermost(loader.behind) if isinstance(loader, InFront) else loader


def _behind(loader: Loader, innermost: Loader) -> Loader:
    """The loader with another one behind all that stand in front."""
    return loader.over(_behind(loader.behind, innermost)) if isinstance(loader, InFront) else innermost


def in_chunks(numbers: Tensor, most: int) -> list[Tensor]:
    """Numbers of examples in chunks of at most ``most``, as equal as can be."""
    return list(numbers.tensor_split(-(-len(numbers) // most)))
