"""Several processes that train one network: each has its share of every batch, and all know and decide the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from dnal.base.errors import UserError
from dnal.space.surgery.inputs import batch_size
from dnal.train.batch import split
from dnal.train.loader import Loader
from dnal.train.rows import is_of_examples, of_each

if TYPE_CHECKING:
    from lightning.fabric import Fabric


def together(fabric: Fabric, loss: Tensor | float, stop: bool) -> tuple[Tensor | float, bool]:
    """The mean loss of all processes, and whether any of them was asked to stop: all must know it at the same step, so
    that several processes wait for the loss here. One alone keeps what it was given."""
    if fabric.world_size == 1:
        return loss, stop
    both = torch.tensor([float(loss), float(stop)], dtype=torch.float64, device=fabric.device)
    both = fabric.all_reduce(both, reduce_op="mean")  # type: ignore[assignment]
    mean, asked = both.tolist()
    return mean, asked > 0


def agree(fabric: Fabric, modules: Sequence[nn.Module], *, weights: bool = False) -> None:
    """Gives every process the first one's buffers: the statistics of batch norm are those of each one's own images.
    ``weights``: its parameters too, where they come of one's own images."""
    if fabric.world_size == 1:
        return
    for module in modules:
        for tensor in (*module.buffers(), *(module.parameters() if weights else ())):
            torch.distributed.broadcast(tensor.data, 0)


def shared_out(loader: Loader, fabric: Fabric) -> Loader:
    """The loader of this process: of every batch the images that are its own, an equal number in every process.

    A loader with ``share(rank, processes)`` reads no others; of any other loader, which must give every process the
    same batches, the rest is left aside.
    """
    if fabric.world_size == 1:
        return loader
    if hasattr(loader, "share"):
        loader.share(fabric.global_rank, fabric.world_size)
        return loader
    return _Share(loader, fabric.global_rank, fabric.world_size)


class _Share:
    """Every n-th example of a loader's batches."""

    def __init__(self, loader: Loader, rank: int, processes: int) -> None:
        self._loader, self._rank, self._processes = loader, rank, processes
        self.generator = getattr(loader, "generator", None)  # its random state is this one's
        self.sampler = getattr(loader, "sampler", None)

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Any]:
        for batch in self._loader:
            inputs, targets = split(batch)
            size = batch_size(inputs)
            if not is_of_examples(targets, size):
                raise UserError(
                    "several processes share the examples of a batch, and its targets have no row or entry for each of "
                    "them; give a loader with share(rank, processes), or train in one process."
                )
            count = size - size % self._processes
            if count:
                own = slice(self._rank, count, self._processes)
                yield of_each(inputs, size, own), of_each(targets, size, own)
