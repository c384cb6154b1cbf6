"""Example inputs: what a network is called with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map, tree_map_only

from dnal.base.errors import UserError
from dnal.space.surgery.tensors import held_tensors

Inputs = Tensor | tuple[Any, ...] | list[Any] | Mapping[str, Any]


PICTURES = (1, 3, 4)
"""Channels of an image."""


def batch_size(inputs: Inputs) -> int:
    """How many examples there are: the entries of a list of images, else the size of dimension 0 of the first tensor of
    the example inputs; 1 if there is none."""
    for leaf in tree_leaves(_arguments(inputs), is_leaf=_is_a_list_of_examples):
        if _is_a_list_of_examples(leaf):
            return len(leaf)
        if isinstance(leaf, Tensor) and leaf.dim():
            return int(leaf.size(0))
    return next((int(t.size(0)) for t in held_tensors(inputs) if t.dim()), 1)


def _is_a_list_of_examples(value: Any) -> bool:
    """Whether this is one thing for each example, as detectors take them: images (C, H, W), or dicts of what is known
    of each."""
    if not isinstance(value, list) or not value:
        return False
    images = all(isinstance(x, Tensor) and x.dim() == 3 and x.size(0) in PICTURES for x in value)
    return images or all(isinstance(x, Mapping) for x in value)


def lists_examples(inputs: Inputs) -> bool:
    """Whether an argument is a list with an entry for each example."""
    return any(map(_is_a_list_of_examples, tree_leaves(_arguments(inputs), is_leaf=_is_a_list_of_examples)))


def _arguments(inputs: Inputs) -> Any:
    """The inputs with positional arguments as a tuple: a list of them is none of examples."""
    return tuple(inputs) if isinstance(inputs, list) else inputs


def at_batch(inputs: Inputs, batch: int) -> Inputs:
    """The example inputs repeated or cut to ``batch`` examples, of lists, or along dimension 0, in their memory
    format."""
    if batch < 1:
        raise UserError(f"a batch has at least one example, not {batch}.")
    size, arguments = batch_size(inputs), _arguments(inputs)
    if not lists_examples(inputs):
        return repeated(arguments, size, batch)  # type: ignore[no-any-return]
    if isinstance(arguments, Mapping):
        return {name: _relisted(argument, size, batch) for name, argument in arguments.items()}
    return tuple(_relisted(argument, size, batch) for argument in arguments)


def repeated(tree: Any, size: int, batch: int) -> Any:
    """Inputs or targets of ``size`` examples repeated or cut to ``batch``: lists of examples, and dimension 0 of
    tensors."""

    def resized(leaf: Any) -> Any:
        if size == batch:
            return leaf
        if _is_a_list_of_examples(leaf):
            if len(leaf) != size:  # tensors of whole batches after all
                return [tree_map(resized, one) for one in leaf]
            return (leaf * -(-batch // size))[:batch]
        if not isinstance(leaf, Tensor) or not leaf.dim() or leaf.size(0) != size:
            return leaf
        return torch.cat([leaf] * -(-batch // size))[:batch].clone()

    return tree_map(resized, tree, is_leaf=_is_a_list_of_examples)


def _relisted(argument: Any, size: int, batch: int) -> Any:
    """An argument beside a list of images, which may be another list, or tensors, with as many entries."""
    if type(argument) is list and len(argument) == size:
        return (argument * -(-batch // size))[:batch]
    return repeated(argument, size, batch)


def sizes(inputs: Inputs) -> Any:
    """The shape of one example, as a plain list; of several inputs one each, in lists and dicts like theirs."""
    if isinstance(inputs, Tensor):
        return list(inputs.shape[1:])
    if isinstance(inputs, Mapping):
        return {str(name): sizes(value) for name, value in inputs.items()}
    return [sizes(value) for value in inputs] if isinstance(inputs, tuple | list) else None


def of_images(inputs: Inputs) -> bool:
    """Whether the inputs are one tensor of images (N, C, H, W), whose order in memory may be chosen."""
    return isinstance(inputs, Tensor) and inputs.dim() == 4


def cloned(inputs: Inputs) -> Inputs:
    """The same inputs in fresh memory: a network may change its input in place."""
    return tree_map_only(Tensor, lambda t: t.detach().clone(), inputs)  # type: ignore[no-any-return]


POSITIONS: tuple[dict[int, tuple[int, ...]], ...] = (
    {3: (2,), 4: (2, 3), 5: (3, 4)},  # (N, C, L), (N, C, H, W), (N, C, T, H, W)
    {3: (1,), 5: (2,)},  # (N, L, C); the frames of a video, where its images have one size
)
"""Which dimensions count positions, for tensors of so many dimensions: as is usual, and otherwise."""


STEP, LARGE = 32, 160
"""Positions by which inputs of another size differ, and from which size on they have fewer: large inputs cost more."""


def resized(inputs: Inputs, dimensions: dict[int, tuple[int, ...]] = POSITIONS[0]) -> Inputs:
    """The same inputs in fresh memory, those of floats :data:`STEP` positions longer or shorter along ``dimensions``;
    an image has none where a side is a single pixel."""

    def other(tensor: Tensor) -> Tensor:
        dims = dimensions.get(tensor.dim(), ())
        if not dims or not tensor.is_floating_point() or min(tensor.size(d) for d in dims) < 2:
            return tensor
        step = STEP if min(tensor.size(d) for d in dims) < LARGE else -STEP
        return tensor.new_ones([size + step * (d in dims) for d, size in enumerate(tensor.shape)])

    return tree_map_only(Tensor, other, cloned(inputs))  # type: ignore[no-any-return]


def offer_others(inputs: Inputs, takes: Callable[[Inputs], bool]) -> None:
    """Offers inputs of another batch and another size; where those are not taken, of another batch, then of another
    size, each in the order in which to try them: a network may take multiples of a batch only. A list of images gives
    as many results, which are not those of fewer.

    Args:
        takes: tries some inputs, and says whether the network takes them.
    """
    batch = batch_size(inputs)
    batches = [at_batch(inputs, n) for n in (batch + 1, 2 * batch) if batch and not lists_examples(inputs)]
    sizes = [resized(inputs, dimensions) for dimensions in POSITIONS]
    batches, sizes = ([other for other in tries if _differ(other, inputs)] for tries in (batches, sizes))
    both = resized(batches[0]) if batches else inputs
    if batches and sizes and _differ(both, batches[0]) and takes(both):
        return
    for tries in (batches, sizes):
        any(takes(other) for other in tries)


def _differ(inputs: Inputs, others: Inputs) -> bool:
    """Whether their shapes do."""
    return [tensor.shape for tensor in held_tensors(inputs)] != [tensor.shape for tensor in held_tensors(others)]


def for_each_example(outputs: Sequence[Tensor], others: Sequence[Tensor], batches: tuple[int, int]) -> bool:
    """Whether those outputs that hold one thing for each example of a batch do so for another batch too. A
    ``view(-1, 512)`` takes images of another size for more examples, which is no use of the network."""
    if len(outputs) != len(others):
        return False
    mine = [one.dim() > 0 and one.size(0) == batches[0] for one in outputs]
    return all(one.dim() > 0 and one.size(0) == batches[1] for one, each in zip(others, mine, strict=True) if each)
