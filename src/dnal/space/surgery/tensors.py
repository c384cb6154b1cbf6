"""The tensors of a network, and those in whatever it takes and gives."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map_only


def named_tensors(network: nn.Module) -> list[tuple[str, Tensor]]:
    """Every parameter and buffer under every one of its names."""
    parameters = network.named_parameters(remove_duplicate=False)
    return [*parameters, *network.named_buffers(remove_duplicate=False)]


def tensors_of(tree: Any) -> list[Tensor]:
    """Every tensor in a nested structure of tuples, lists and dicts: the arguments of an operation."""
    found: list[Tensor] = []
    _collect(tree, found)
    return found


PLAIN = frozenset({type(None), bool, int, float, complex, str, torch.dtype, torch.device, torch.layout, torch.Size})
"""Types of arguments that hold no tensor."""


def _collect(tree: Any, found: list[Tensor]) -> None:
    """What :func:`tensors_of` finds. Plain containers, which nearly all arguments are, do not go through torch's
    ``tree_flatten``, which takes many times as long: a trace asks several times for each operation."""
    kind = type(tree)
    if isinstance(tree, Tensor):
        found.append(tree)
    elif kind is tuple or kind is list:
        for item in tree:
            _collect(item, found)
    elif kind is dict:
        for item in tree.values():
            _collect(item, found)
    elif kind not in PLAIN:
        found += (leaf for leaf in tree_flatten(tree)[0] if isinstance(leaf, Tensor))


def without_tensors(tree: Any) -> Any:
    """The same structure with None in the place of its tensors; plain containers by hand as in :func:`tensors_of`."""
    kind = type(tree)
    if kind in PLAIN:
        return tree
    if isinstance(tree, Tensor):
        return None
    if kind is tuple or kind is list:
        return kind([without_tensors(item) for item in tree])
    return tree_map_only(Tensor, lambda _: None, tree)


CACHE, CACHED = "transformers.cache_utils.Cache", "transformers.cache_utils.CacheLayerMixin"
"""What a network keeps for its next call, and a layer of it, by the names of their classes: the package takes seconds
to import."""
KEPT = ("keys", "values")
"""The attributes of such a layer that attention has read when it is returned."""


def is_a(value: Any, kind: str) -> bool:
    """Whether an object is of a class of this name, ``package.module.Class``."""
    return any(f"{own.__module__}.{own.__qualname__}" == kind for own in type(value).__mro__)


def answers(outputs: Any) -> list[Tensor]:
    """Every tensor in what a network answers. The keys and values of its cache are none: they have as many heads as
    the network, which alone reads them."""
    return held_tensors(outputs, cached=False)


def held_tensors(tree: Any, *, cached: bool = True) -> list[Tensor]:
    """Every tensor in a network's inputs or outputs, also inside dataclasses and other objects of the user's;
    ``cached``: keys and values of a cache too.

    An output that is overlooked would be taken for channels that nothing reads, and removed.
    """
    found: list[Tensor] = []
    seen: set[int] = set()
    pending = [tree]
    while pending:
        for leaf in tree_flatten(pending.pop())[0]:
            if isinstance(leaf, Tensor):
                found.append(leaf)
            elif id(leaf) not in seen and not isinstance(leaf, (type, nn.Module, ModuleType)):
                seen.add(id(leaf))
                if isinstance(leaf, (set, frozenset, Mapping)):
                    pending.append(list(leaf.values() if isinstance(leaf, Mapping) else leaf))
                slots = [name for kind in type(leaf).__mro__ for name in getattr(kind, "__slots__", ())]
                held = {name: getattr(leaf, name) for name in slots if isinstance(name, str) and hasattr(leaf, name)}
                held |= getattr(leaf, "__dict__", {})
                left_out = KEPT if not cached and is_a(leaf, CACHED) else ()
                pending.append([value for name, value in held.items() if name not in left_out])
    return found
