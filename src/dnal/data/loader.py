"""Loaders whose order and augmentation depend on (seed, epoch, batch) alone, so that a run can resume anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves
from torch.utils.data import DataLoader, Sampler, get_worker_info
from torch.utils.data import Dataset as TorchDataset

from dnal.base.errors import UserError
from dnal.data.dataset import Batch, Chosen, Dataset, Part, plain


class BatchKey(NamedTuple):
    """Which examples make a batch, and the seed of their augmentation."""

    indices: Tensor
    seed: int


class EpochOrder(Sampler[BatchKey]):
    """The batches of one epoch: in order, or shuffled by (seed, epoch), from batch ``start`` on."""

    def __init__(self, images: int, batch_size: int, *, seed: int, shuffle: bool) -> None:
        self.images = images
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle = shuffle
        self.epoch = 0
        self.start = 0
        self.rank, self.processes = 0, 1

    def __len__(self) -> int:
        return self.batches(self.processes)

    def batches(self, processes: int) -> int:
        """How many there are, if each of so many processes gets its share."""
        full, rest = divmod(self.images, self.batch_size)
        # A training batch of one image would break batch-norm, so it is left out; evaluation sees every image.
        least = 2 * processes if self.shuffle and (full or processes > 1) else 1
        return full * (processes == 1 or self.batch_size >= least) + (rest >= least)

    def __iter__(self) -> Iterator[BatchKey]:
        if self.shuffle:
            generator = torch.Generator().manual_seed(mixed_seed(self.seed, self.epoch))
            order = torch.randperm(self.images, generator=generator)
        else:
            order = torch.arange(self.images)
        return self._keys(order, self.epoch, self.start)

    def _keys(self, order: Tensor, epoch: int, start: int) -> Iterator[BatchKey]:
        # Apart from __iter__, so that epoch and start are read when an iteration begins, not at its first batch.
        for number in range(start, len(self)):
            indices = order[number * self.batch_size : (number + 1) * self.batch_size]
            if self.processes == 1:
                yield BatchKey(indices, mixed_seed(self.seed, epoch, number))
                continue
            own = indices[self.rank : len(indices) - len(indices) % self.processes : self.processes]
            yield BatchKey(own, mixed_seed(self.seed, epoch, number, self.rank))


class EpochLoader(DataLoader[Batch]):
    """A DataLoader of ready batches, pairs of inputs and targets or mappings with ``labels``, that can be resumed.

    Every iteration is the next epoch. ``state_dict`` tells the epoch and how many of its batches were handed out;
    after ``load_state_dict`` the next iteration continues exactly there. The number of workers changes nothing.
    """

    def __init__(self, part: Part, batch_size: int, *, seed: int = 0, shuffle: bool = False, workers: int = 0) -> None:
        self.part = part
        self.order = EpochOrder(len(part), batch_size, seed=seed, shuffle=shuffle)
        self._epoch = 0
        self._done = 0
        self._resume = True
        super().__init__(
            _Batches(part),
            batch_size=None,
            sampler=self.order,
            num_workers=workers,
            persistent_workers=workers > 0,
            # A DataLoader without its own generator takes a number from the global one at every epoch.
            generator=torch.Generator().manual_seed(mixed_seed(seed)),
        )

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        if self._done >= len(self.order) or (self._done and not self._resume):
            # The last epoch was finished, or broken off by its user: the next one begins.
            self._epoch, self._done = self._epoch + 1, 0
        self._resume = False
        self.order.epoch, self.order.start = self._epoch, self._done
        return self._counted(super().__iter__(), self._done)

    def _counted(self, batches: Iterator[Batch | UserError], done: int) -> Iterator[Batch]:
        for number, batch in enumerate(batches, start=done + 1):
            if isinstance(batch, UserError):
                raise batch
            self._done = number
            yield batch

    @property
    def examples(self) -> int:
        """How many examples the part has."""
        return len(self.part)

    def picked(self, indices: Tensor, seed: int, *, augmented: bool) -> Batch:
        """A batch of the examples at ``indices``, by their numbers in the part, in this order."""
        return (self.part if augmented else plain(self.part)).batch(indices, seed)

    def only(self, indices: Tensor) -> EpochLoader:
        """A loader like this one, at its first epoch, of the examples at ``indices`` alone."""
        order = self.order
        found = EpochLoader(
            Chosen(self.part, indices), order.batch_size, seed=order.seed, shuffle=order.shuffle,
            workers=self.num_workers,
        )  # fmt: skip
        found.share(order.rank, order.processes)
        return found

    def share(self, rank: int, processes: int) -> None:
        """Of every batch read only the images of this one of several processes; all get equally many, of the last
        batch too, and the batch size stays that of all together."""
        self.order.rank, self.order.processes = rank, processes

    def state_dict(self) -> dict[str, int]:
        """Where the loader is: seed, epoch, and batches of it handed out."""
        return {"seed": self.order.seed, "epoch": self._epoch, "batch": self._done, "batches": self.order.batches(1)}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue where ``state`` was taken.

        Raises:
            UserError: the state is of a loader with another number of batches.
        """
        if state["batches"] != self.order.batches(1):
            raise UserError(
                f"this loader has {self.order.batches(1)} batches per epoch and cannot continue one of "
                f"{state['batches']}; use the same data and batch size"
            )
        self.order.seed, self._epoch, self._done = state["seed"], state["epoch"], state["batch"]
        self._resume = True


class Loaders(NamedTuple):
    """The three loaders of a data set."""

    train: EpochLoader
    val: EpochLoader
    test: EpochLoader


def loaders(
    dataset: Dataset, batch_size: int, *, seed: int = 0, workers: int = 0, eval_batch_size: int | None = None
) -> Loaders:
    """Loaders of ready batches: of images (x float32 (B, C, H, W), y int64 (B,)), of others as their kind has them.

    The training loader shuffles again every epoch and augments; a last batch of a single image is left out of it.
    Validation and test come in order, whole and plain.

    Raises:
        UserError: a batch size below 1 or a negative number of workers.
    """
    for size in (batch_size, batch_size if eval_batch_size is None else eval_batch_size):
        if size < 1:
            raise UserError(f"the batch size must be at least 1, not {size}")
    if workers < 0:
        raise UserError(f"the number of workers must be 0 or more, not {workers}")
    plain = eval_batch_size or batch_size
    return Loaders(
        train=EpochLoader(dataset.train, batch_size, seed=seed, shuffle=True, workers=workers),
        val=EpochLoader(dataset.val, plain, workers=workers),
        test=EpochLoader(dataset.test, plain, workers=workers),
    )


def mixed_seed(*numbers: int) -> int:
    """One 64-bit seed from several numbers; neighbouring numbers give unrelated seeds."""
    # Negative seeds are folded, since a SeedSequence takes none.
    entropy = [number % 2**64 for number in numbers]
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0]) >> 1


class _Batches(TorchDataset[Any]):
    """A part, asked for whole batches by key. What is wrong with an image is handed over like a batch: what a worker
    raises arrives with its traceback for a sentence."""

    def __init__(self, part: Part) -> None:
        self.part = part

    def __getitem__(self, key: BatchKey) -> Batch | UserError:
        try:
            batch = self.part.batch(key.indices, key.seed)
        except UserError as error:
            return UserError(str(error))
        if get_worker_info() is not None:
            for tensor in tree_leaves(batch):
                tensor.share_memory_()  # here, where a place that is full ends the job; later it would wait for ever
        return batch
