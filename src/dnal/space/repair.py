"""Numbers in a network's code, corrected for the compact network.

A module that remembers the number gets its attribute changed. Where the code computes it from something else
(``C // num_heads`` with C from a stream that stayed), the module's class becomes a subclass of itself whose forward
runs the user's own under a mode that gives the call the right number. A subclass, not a forward function on the
instance: a deep copy must run on its own parameters.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from dnal.base.errors import UserError
from dnal.space.sizes import Argument, Attribute, Change, numbers, sized, with_numbers


class Rewrites(dict[Argument, tuple[int, int, bool]]):
    """Argument -> (old, new, multiple); ``used`` remembers which were needed."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.used: set[Argument] = set()

    def number(self, argument: Argument, given: int | torch.SymInt | Tensor) -> int | torch.SymInt | Tensor:
        for target in (argument, argument._replace(which=-1)):
            old, new, multiple = self.get(target, (0, 0, False))
            if isinstance(given, torch.SymInt):
                # A free batch, or a multiple of it: to compare a symbol would bind it.
                if multiple:
                    self.used.add(target)
                    return given // old * new
            elif old and (given % old == 0 if multiple and given > 0 else given == old):
                self.used.add(target)
                return given // old * new
        return given


class Rewriter(TorchFunctionMode):
    """Gives the calls of a forward pass the numbers of :class:`Rewrites`."""

    def __init__(self, rewrites: Rewrites) -> None:
        super().__init__()
        self._rewrites = rewrites
        self._calls: Counter[tuple[str, int]] = Counter()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        first = sized(name, args)
        if first is not None:
            count = len(numbers((args[first:], kwargs)))
            which = self._calls[name, count]
            self._calls[name, count] += 1
            rest, kwargs = with_numbers(
                (args[first:], kwargs), lambda p, n: self._rewrites.number(Argument(name, count, p, which), n)
            )
            args = (*args[:first], *rest)
        return func(*args, **kwargs)


_REPAIRED: dict[type[nn.Module], type[nn.Module]] = {}


def repaired_class(kind: type[nn.Module]) -> type[nn.Module]:
    """A subclass of ``kind`` that computes the same with the numbers of its attribute ``rewritten_sizes``."""
    if kind in _REPAIRED:
        return _REPAIRED[kind]

    @functools.wraps(kind.forward)  # its arguments have names that exporters look for
    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        with Rewriter(self.rewritten_sizes):  # type: ignore[arg-type]
            return kind.forward(self, *args, **kwargs)

    def reduce(self: nn.Module, protocol: Any) -> tuple[Any, ...]:
        return _restored, (kind,), self.__getstate__()

    members = {"forward": forward, "__reduce_ex__": reduce, "__module__": kind.__module__, "__doc__": kind.__doc__}
    _REPAIRED[kind] = type(kind.__name__, (kind,), members)
    return _REPAIRED[kind]


def _restored(kind: type[nn.Module]) -> nn.Module:
    """An empty module of the repaired class, for copy and pickle."""
    made = repaired_class(kind)
    return made.__new__(made)


def repair(network: nn.Module, changes: Iterable[Change]) -> None:
    """Applies the changes to a compact network, in place.

    Raises:
        UserError: if the network has no such module or attribute.
    """
    for change in changes:
        try:
            module = network.get_submodule(change.path)
        except AttributeError:
            raise UserError(f"the architecture belongs to another network: no module '{change.path}'.") from None
        if isinstance(change.target, Attribute):
            _set(module, change.target, change)
            continue
        if "rewritten_sizes" not in vars(module):
            vars(module)["rewritten_sizes"] = Rewrites()
            module.__class__ = repaired_class(type(module))
        module.rewritten_sizes[change.target] = (change.old, change.new, change.multiple)  # type: ignore


def _set(module: nn.Module, attribute: Attribute, change: Change) -> None:
    name, item = attribute
    value = vars(module).get(name)
    held = value if item < 0 else value[item] if isinstance(value, (list, tuple)) and item < len(value) else None
    if type(held) is not int or held != change.old:
        raise UserError(f"the architecture belongs to another network: '{change.path}.{name}' is not {change.old}.")
    if item < 0:
        setattr(module, name, change.new)
        return
    changed = [change.new if i == item else v for i, v in enumerate(value)]  # type: ignore[arg-type]
    setattr(module, name, changed if isinstance(value, list) else tuple(changed))
