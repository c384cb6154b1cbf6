"""Deep copies of networks, without what others left in them."""

from __future__ import annotations

import copy
import copyreg
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from types import BuiltinFunctionType, FunctionType
from typing import Any

from torch import nn

OF_FABRIC = ("_fabric", "_fabric_optimizers")
"""Where Lightning Fabric leaves itself in a LightningModule."""


@contextmanager
def without_fabric(network: nn.Module) -> Iterator[None]:
    """The modules of a network without what Lightning Fabric left in them, which no deep copy survives."""
    held = [
        (module, name, vars(module)[name]) for module in network.modules() for name in OF_FABRIC if name in vars(module)
    ]
    for module, name, value in held:
        vars(module)[name] = [] if isinstance(value, list) else None
    try:
        yield
    finally:
        for module, name, value in held:
            vars(module)[name] = value


def deep_copy(network: nn.Module, memo: dict[int, Any] | None = None) -> nn.Module:
    """A deep copy of a network; ``memo``: what takes the place of its objects, by their ids."""
    with without_fabric(network):
        return _copied(network, {} if memo is None else memo)  # type: ignore[no-any-return]


ATOMIC = frozenset({type(None), bool, int, float, complex, str, bytes, type, FunctionType, BuiltinFunctionType})
"""Types whose objects are their own copies."""


def _copied(value: Any, memo: dict[int, Any]) -> Any:
    """``copy.deepcopy(value, memo)``, in a fifth of the time for modules and the dicts in them: an analysis copies its
    network dozens of times. Whatever is copied in a way of its own goes to the original."""
    kind: Any = type(value)
    if kind in ATOMIC:
        return value
    made = memo.get(id(value))
    if made is not None:
        return made
    if kind is dict or (kind is OrderedDict and not vars(value)):
        made = memo[id(value)] = kind()
        for key, item in value.items():  # most items are atomic; a call for each would cost more than the copy
            new = item if type(item) in ATOMIC else _copied(item, memo)
            made[key if type(key) is str else _copied(key, memo)] = new
        return made
    if kind is list:
        made = memo[id(value)] = []
        made += (_copied(item, memo) for item in value)
        return made
    if kind is tuple and all(type(item) in ATOMIC for item in value):
        return value
    if isinstance(value, nn.Module) and not hasattr(value, "__deepcopy__") and kind not in copyreg.dispatch_table:
        function, arguments, state = (*value.__reduce_ex__(4), None)[:3]
        if function is copyreg.__newobj__ and arguments == (kind,) and type(state) is dict:  # type: ignore[attr-defined]
            made = memo[id(value)] = kind.__new__(kind)
            made.__setstate__(
                {name: item if type(item) in ATOMIC else _copied(item, memo) for name, item in state.items()}
            )
            return made
    return copy.deepcopy(value, memo)
