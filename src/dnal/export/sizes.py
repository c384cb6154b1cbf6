"""Which sizes besides the batch a file leaves free: height, width and length, where the network computes at others."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from dnal.space.surgery.inputs import Inputs, batch_size, for_each_example
from dnal.space.surgery.running import call
from dnal.space.surgery.tensors import held_tensors

logger = logging.getLogger(__name__)

USUAL = {3: {2: "length"}, 4: {2: "height", 3: "width"}, 5: {2: "length", 3: "height", 4: "width"}}
"""(N, C, L), (N, C, H, W), (N, C, T, H, W): the dimensions of floating-point inputs that count positions."""
OTHERWISE = {3: {1: "length"}, 4: {2: "height", 3: "width"}, 5: {3: "height", 4: "width"}}
"""(N, L, C), and videos of so many frames."""
STEPS = {"height": (32, 64), "width": (64, 32), "length": (8, 24)}
"""By how much the two other sizes are larger: multiples of most strides, and not the same for height and width."""


@dataclass(frozen=True)
class Free:
    """The names of free sizes, per tensor of the inputs and dimension; the batch is free besides."""

    names: tuple[dict[int, str], ...] = ()

    @property
    def sizes(self) -> list[str]:
        """Each name once."""
        return list(dict.fromkeys(name for own in self.names for name in own.values()))

    def of(self, number: int) -> dict[int, str]:
        """Those of the tensor of this number."""
        return self.names[number] if number < len(self.names) else {}

    def larger(self, example: Inputs, which: int) -> Inputs:
        """The example at another size, its entries repeated; ``which``: 0 or 1, one of two."""
        numbers = iter(range(len(self.names)))

        def resized(tensor: Tensor) -> Tensor:
            for dim, name in self.of(next(numbers)).items():
                places = torch.arange(tensor.size(dim) + STEPS[name][which], device=tensor.device) % tensor.size(dim)
                tensor = tensor.index_select(dim, places)
            return tensor

        return tree_map_only(Tensor, resized, example)  # type: ignore[no-any-return]


def free_sizes(network: nn.Module, example: Inputs) -> Free | None:
    """The sizes that are free: those at which the network, in eval mode, computes a finite result for each example at
    two others."""
    outputs = held_tensors(call(network, example))
    for free in _candidates(example):
        if all(_computes(network, free.larger(example, which), outputs) for which in (0, 1)):
            return free
    return None


def _candidates(example: Inputs) -> Iterator[Free]:
    tensors = [leaf for leaf in tree_leaves(example) if isinstance(leaf, Tensor)]
    known: list[Free] = []
    for usual in (USUAL, OTHERWISE):
        free = Free(tuple(_named(tensor, tensors, usual) for tensor in tensors))
        if free.sizes and free not in known and _agree(free, tensors):
            known.append(free)
            yield free


def _named(tensor: Tensor, tensors: list[Tensor], usual: dict[int, dict[int, str]]) -> dict[int, str]:
    if tensor.dim() == 2:  # numbers of words, and what stands beside them; a table has as many columns as it has
        words = {t.size(1) for t in tensors if t.dim() == 2 and not t.is_floating_point()}
        return {1: "length"} if tensor.size(1) in words else {}
    names = usual.get(tensor.dim(), {}) if tensor.is_floating_point() else {}
    return {} if any(tensor.size(dim) < 2 for dim in names) else names


def _agree(free: Free, tensors: list[Tensor]) -> bool:
    """Whether each name is of one size, and none that of the batch."""
    sizes: dict[str, set[int]] = {}
    for number, tensor in enumerate(tensors):
        for dim, name in free.of(number).items():
            sizes.setdefault(name, set()).add(tensor.size(dim))
    return all(len(found) == 1 for found in sizes.values())


def _computes(network: Callable[..., Any], inputs: Inputs, outputs: list[Tensor]) -> bool:
    try:
        found = held_tensors(call(network, inputs))
    except Exception as error:  # whatever the user's forward raises at another size
        logger.debug("the network takes no other size: %s", error)
        return False
    batches = batch_size(inputs), batch_size(inputs)
    return for_each_example(outputs, found, batches) and all(bool(t.isfinite().all()) for t in found)
