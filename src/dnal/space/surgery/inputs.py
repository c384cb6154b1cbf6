"""Example inputs: what a network is called with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from dnal.base.errors import UserError
from dnal.space.surgery.tensors import held_tensors

Inputs = Tensor | tuple[Any, ...] | list[Any] | Mapping[str, Any]


def batch_size(inputs: Inputs) -> int:
    """The size of dimension 0 of the first tensor of the example inputs; 1 if there is none."""
    return next((int(t.size(0)) for t in held_tensors(inputs) if t.dim()), 1)


def at_batch(inputs: Inputs, batch: int) -> Inputs:
    """The example inputs repeated or cut to ``batch`` examples along dimension 0, in their memory format."""
    size = batch_size(inputs)

    def resized(tensor: Tensor) -> Tensor:
        if not tensor.dim() or tensor.size(0) != size or size == batch:
            return tensor
        return torch.cat([tensor] * -(-batch // size))[:batch].clone()

    if batch < 1:
        raise UserError(f"a batch has at least one example, not {batch}.")
    return tree_map_only(Tensor, resized, inputs)  # type: ignore[no-any-return]


def cloned(inputs: Inputs) -> Inputs:
    """The same inputs in fresh memory: a network may change its input in place."""
    return tree_map_only(Tensor, lambda t: t.detach().clone(), inputs)  # type: ignore[no-any-return]


GROWN: tuple[dict[int, tuple[int, ...]], ...] = (
    {3: (2,), 4: (2, 3), 5: (3, 4)},  # (N, C, L), (N, C, H, W), (N, C, T, H, W)
    {3: (1,), 5: (2,)},  # (N, L, C); the frames of a video, where its images have one size
)
"""Which dimensions count positions, for tensors of so many dimensions: as is usual, and otherwise."""


def larger(inputs: Inputs, dimensions: dict[int, tuple[int, ...]] = GROWN[0]) -> Inputs:
    """The same inputs in fresh memory, those of floats 32 positions larger along ``dimensions``; an image has none
    where a side is a single pixel."""

    def grown(tensor: Tensor) -> Tensor:
        dims = dimensions.get(tensor.dim(), ())
        if not dims or not tensor.is_floating_point() or min(tensor.size(d) for d in dims) < 2:
            return tensor
        return tensor.new_ones([size + 32 * (d in dims) for d, size in enumerate(tensor.shape)])

    return tree_map_only(Tensor, grown, cloned(inputs))  # type: ignore[no-any-return]


def others(inputs: Inputs) -> list[list[Inputs]]:
    """Inputs of another batch and of another size, each in the order in which to try them: a network may take
    multiples of a batch only."""
    batch = batch_size(inputs)
    found = [
        [at_batch(inputs, n) for n in (batch + 1, 2 * batch) if batch],
        [larger(inputs, dimensions) for dimensions in GROWN],
    ]
    sizes = [t.shape for t in held_tensors(inputs)]
    changed = [[other for other in tries if [t.shape for t in held_tensors(other)] != sizes] for tries in found]
    return [tries for tries in changed if tries]


def for_each_example(outputs: Sequence[Tensor], others: Sequence[Tensor], batches: tuple[int, int]) -> bool:
    """Whether those outputs that hold one thing for each example of a batch do so for another batch too. A
    ``view(-1, 512)`` takes images of another size for more examples, which is no use of the network."""
    if len(outputs) != len(others):
        return False
    mine = [one.dim() > 0 and one.size(0) == batches[0] for one in outputs]
    return all(one.dim() > 0 and one.size(0) == batches[1] for one, each in zip(others, mine, strict=True) if each)
