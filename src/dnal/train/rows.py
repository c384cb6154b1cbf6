"""The examples of a batch, whatever tree of tensors and lists it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map


def device_of(network: nn.Module) -> torch.device:
    """Where a network is; one without parameters is on the CPU."""
    return next((parameter.device for parameter in network.parameters()), torch.device("cpu"))


def to_device(batch: Any, device: torch.device) -> Any:
    """A batch with all its tensors on ``device``: a tensor, or dicts, lists and tuples of them; whatever else has a
    ``to`` is moved by it, and the rest stays."""
    from lightning.fabric.utilities import move_data_to_device  # seconds, and only who trains needs it

    return move_data_to_device(batch, device)


def of_each(part: Any, size: int, rows: slice) -> Any:
    """Some of the ``size`` examples of inputs or targets: of every tensor with so many rows these, of every list or
    tuple with an entry for each of them these entries; what else there is stays whole."""

    def cut(leaf: Any) -> Any:
        return leaf[rows] if _has_all(leaf, size) or _lists_examples(leaf, size) else leaf

    return tree_map(cut, part, is_leaf=lambda leaf: _lists_examples(leaf, size))


def is_of_examples(part: Any, size: int) -> bool:
    """Whether :func:`of_each` cuts all of it: a tensor that has another number of rows belongs to the examples in a way
    that are not known, such as all boxes of all images one after the other."""
    leaves = tree_leaves(part, is_leaf=lambda leaf: _lists_examples(leaf, size))
    return all(_has_all(leaf, size) or not leaf.dim() for leaf in leaves if isinstance(leaf, Tensor))


def is_finite(tree: Any) -> bool:
    """Whether no floating-point tensor of a tree holds NaN or an infinity."""
    return all(bool(torch.isfinite(t).all()) for t in _floats(tree))


def has_nan(tree: Any) -> bool:
    """Whether a floating-point tensor of a tree holds NaN."""
    return any(bool(torch.isnan(t).any()) for t in _floats(tree))


def _floats(tree: Any) -> Iterator[Tensor]:
    return (t for t in tree_leaves(tree) if isinstance(t, Tensor) and t.is_floating_point())


def _has_all(leaf: Any, size: int) -> bool:
    return isinstance(leaf, Tensor) and leaf.dim() > 0 and leaf.size(0) == size


def _lists_examples(part: Any, size: int) -> bool:
    """Whether it is a list with an entry per example, and not one of parts that have a row per example each."""
    if not isinstance(part, list | tuple) or len(part) != size or hasattr(part, "_fields"):
        return False
    return not all(_has_rows(entry, size) for entry in part)


def _has_rows(part: Any, size: int) -> bool:
    leaves = tree_leaves(part, is_leaf=lambda leaf: _lists_examples(leaf, size))
    found = [_has_all(leaf, size) or _lists_examples(leaf, size) for leaf in leaves]
    return any(found) and is_of_examples(part, size)
